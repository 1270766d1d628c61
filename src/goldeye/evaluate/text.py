"""An evaluation for people: a line a metric, then the definitions and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goldeye.evaluate.definitions import definition_text


def evaluation_text(result: Mapping[str, Any]) -> str:
    """The document of `evaluate_folder` as text, with the comparison that `goldeye evaluate --compare` adds."""
    figures = result["metrics"].values()
    width = max([8, *(len(each["definition"]["name"]) + 2 for each in figures)])
    lines = [_counts(result)]
    for each in figures:
        name, unit = each["definition"]["name"], _unit(each["definition"])
        shown = "none" if each["mean"] is None else _number(each["mean"]) + unit + _interval(each["ci95"])
        lines.append(f"  {name:<{width}}{shown}" + (f"  [{each['note']}]" if "note" in each else ""))
    if "compare" in result:
        lines += _compared(result["compare"], result["metrics"], width)
    lines += [definition_text(each["definition"]) for each in figures]
    lines += [
        f"no {each['definition']['name']}: {name}: {reason}"
        for each in figures
        for name, reason in each.get("reasons", {}).items()
    ]
    lines += [f"not measured: {row['metric']}: {row['reason']}" for row in result.get("unavailable", [])]
    lines += [f"note: {note}" for note in result.get("notes", [])]
    lines += [f"left out: {entry['name']}: {entry['reason']}" for entry in result["excluded"]]
    return "\n".join(lines)


def has_figures(result: Mapping[str, Any]) -> bool:
    """Whether any picture got a figure in any metric, be it an infinite one."""
    return any(each["mean"] is not None or "infinite" in each for each in result["metrics"].values())


def _counts(result: Mapping[str, Any]) -> str:
    shown = f"{result['images']} pictures compared, {len(result['excluded'])} left out"
    if result["without_result"]:
        shown += f"; {result['without_result']} of {result['expected']} without a result"
    return shown + ("." if has_figures(result) else "; no picture has a figure.")


def _compared(compare: Mapping[str, Any], metrics: Mapping[str, Any], width: int) -> list[str]:
    lines = [f"Compared with {compare['with']} (A is this folder, B the other), picture by picture:"]
    for key, each in compare["metrics"].items():
        definition = metrics[key]["definition"]
        shown = each["note"] if "mean" not in each else _difference(each, definition)
        lines.append(f"  {definition['name']:<{width}}{shown}")
    return lines


def _difference(each: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    shown = "no finite difference"
    if each["mean"] is not None:
        sign = "+" if each["mean"] > 0 else ""
        shown = f"{sign}{_number(each['mean'])}{_unit(definition)}{_interval(each['ci95'])}"
    describes = definition["higher_is_better"] is None
    verdict = each["verdict"].removesuffix(" higher") if describes else each["better"]
    word = "higher" if describes else "better"
    shown += f", A {word} on {each['win_rate']:.0%} of {each['n']}"
    shown += f" ({each['infinite']} infinite, not in the mean)" if each["infinite"] else ""
    return shown + (f": {verdict} is {word}" if verdict in ("A", "B") else ": no difference shown")


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"  (95 % interval {_number(ends[0])} to {_number(ends[1])})"


def _unit(definition: Mapping[str, Any]) -> str:
    return "" if definition["unit"] == "1" else f" {definition['unit']}"


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"
