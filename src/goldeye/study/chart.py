"""The bar chart of a study: two bars for each comparison as in HGGT's Fig. 5, or the mean opinion scores."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldeye.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any kind of colour vision tell apart: blue and vermilion first, as the
# paper's blue and red.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def write_chart(path: Path, found: Mapping[str, Any]) -> None:
    """Draw the figures of `study_results`, which has votes, into a .svg or .png file."""
    import matplotlib

    style = matplotlib.rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#555555",
            "svg.hashsalt": "goldeye",  # equal figures give equal files
        }
    )
    with style:
        figure = _preferences(found) if found["kind"] == "pair" else _ratings(found)
        with atomic_path(path) as temporary:
            date = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(temporary, dpi=200, metadata=date)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _preferences(found: Mapping[str, Any]) -> Figure:
    comparisons = [row for row in found["comparisons"] if row["votes"]]
    scores = found["scores"]["methods"] if found["scores"] else []
    colours = dict(zip(found["methods"], _cycle(len(found["methods"])), strict=True))
    width = 1.7 + 1.35 * len(comparisons)
    figure = _figure(max(4.2, width) + (3.2 if scores else 0), 3.6)
    if scores:
        axes, beside = figure.subplots(1, 2, width_ratios=[max(4.2, width), 3.2])
        _scores(beside, scores, colours)
    else:
        axes = figure.subplots()
    for place, row in enumerate(comparisons):
        ends = row["bootstrap95"] or row["wilson95"]
        shares = (row["a_share"], 1 - row["a_share"])
        bounds = (ends, [1 - ends[1], 1 - ends[0]])
        for side, name, count, share, bound in zip(
            (-0.21, 0.21), (row["a"], row["b"]), (row["a_preferred"], row["b_preferred"]), shares, bounds, strict=True
        ):
            _bar(axes, place + side, 100 * share, [100 * end for end in bound], colours[name], width=0.38)
            _label(axes, place + side, 100 * bound[1] + 2.5, f"{share:.0%}\n{count}")
    axes.axhline(50, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
    labels = [f"{_wrapped(row['a'])}\nvs\n{_wrapped(row['b'])}" for row in comparisons]
    axes.set_xticks(range(len(comparisons)), labels)
    axes.set_xlim(-0.6, len(comparisons) - 0.4)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylim(0, 115)  # above 100 there is room for the counts
    axes.spines.left.set_bounds(0, 100)
    axes.set_ylabel("preferred, % of votes")
    _legend(figure, colours)
    kinds = {"bootstrap" if row["bootstrap95"] else "Wilson" for row in comparisons}
    _caption(figure, found, f"whiskers: 95 % intervals ({' or '.join(sorted(kinds))})")
    return figure


def _scores(axes: Axes, scores: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    for place, row in enumerate(reversed(scores)):
        if row["bootstrap95"]:
            axes.plot(row["bootstrap95"], [place, place], color="#333333", linewidth=1.2, solid_capstyle="butt")
        axes.plot([row["score"]], [place], "o", color=colours[row["method"]], markersize=7)
    axes.set_yticks(range(len(scores)), [_wrapped(row["method"]) for row in reversed(scores)])
    axes.set_ylim(-0.6, len(scores) - 0.4)
    axes.axvline(0, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set_xlabel("Bradley-Terry score (log-odds)")


def _ratings(found: Mapping[str, Any]) -> Figure:
    ratings = [row for row in found["ratings"] if row["votes"]]
    figure = _figure(max(4.2, 1.9 + 1.1 * len(ratings)), 3.6)
    axes = figure.subplots()
    for place, (row, colour) in enumerate(zip(ratings, _cycle(len(ratings)), strict=True)):
        _bar(axes, place, row["mean"], row["bootstrap95"], colour, width=0.6)
        top = row["bootstrap95"][1] if row["bootstrap95"] else row["mean"]
        _label(axes, place, top + 0.1, f"{row['mean']:.2f}")
    axes.set_xticks(range(len(ratings)), [_wrapped(row["method"]) for row in ratings])
    axes.set_xlim(-0.6, len(ratings) - 0.4)
    axes.set_yticks(range(len(found["scale"])), [f"{level} {word}" for level, word in found["scale"].items()])
    axes.set_ylim(0, len(found["scale"]) - 0.6)
    axes.spines.left.set_bounds(0, len(found["scale"]) - 1)
    axes.set_ylabel("mean opinion score (lower is better)")
    shown = any(row["bootstrap95"] for row in ratings)
    _caption(figure, found, "whiskers: 95 % intervals (bootstrap)" if shown else "")
    return figure


def _bar(axes: Axes, place: float, value: float, ends: Sequence[float] | None, colour: str, *, width: float) -> None:
    axes.bar([place], [value], width=width, color=colour)
    if ends is not None:
        error = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
        axes.errorbar([place], [value], yerr=error, fmt="none", ecolor="#222222", elinewidth=1.1, capsize=3)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    free = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # no line crosses the figures
    axes.text(x, y, text, ha="center", va="bottom", fontsize=8, bbox=free)


def _cycle(number: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(number)]


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, 16))


def _legend(figure: Figure, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=textwrap.shorten(name, 30)) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 4), frameon=False)


def _caption(figure: Figure, found: Mapping[str, Any], bars: str) -> None:
    parts = [f"{found['people']} people, {found['pictures']} pictures, {found['votes']} votes", bars]
    figure.supxlabel("; ".join(filter(None, parts)), fontsize=7.5, color="#555555")
