"""Writing an imported recipe, and saying what became of each key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from goldeye.basicsr.options import Entry, shown
from goldeye.basicsr.recipe import Imported, import_options
from goldeye.config import TrainConfig, parse_yaml, validate
from goldeye.errors import InvalidInput
from goldeye.files import write_text


def import_file(source: Path, output: Path, *, like: str | None = None) -> dict[str, Any]:
    """Write `output`, the recipe that the option file `source` makes, and where its degradation is no preset
    `output`'s name with `-degradation.yaml`; the document that says what became of each key.

    Raises InvalidInput as `import_options` does, and when a file to write is there already. Then nothing is written.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise InvalidInput(f"A recipe's name ends with .yaml or .yml, not '{output.name}'.")
    beside = output.with_name(f"{output.stem}-degradation.yaml")
    made = import_options(source, like=like, pipeline_file=str(beside))
    for path in (output, beside) if made.pipeline else (output,):
        if path.exists():
            raise InvalidInput(f"'{path}' is there already.", hint="Give another name with -o, or remove it.")
    text = recipe_text(made)
    validate(TrainConfig, parse_yaml(text, str(output)), where=f"recipe '{output}'")
    if made.pipeline is not None:
        write_text(beside, _comment(f"Degradation of {output.name}.") + _yaml(made.pipeline))
    write_text(output, text)
    return document(made, source, output, beside if made.pipeline else None)


def recipe_text(made: Imported) -> str:
    """The recipe as YAML; comments say which file it is from and which keys could not be mapped."""
    comments = [f"Made of {made.options.source} by `goldeye recipes import`."]
    if made.options.unmapped:
        comments += ["Not mapped:", *(f"  {_line(entry, '')}" for entry in made.options.unmapped)]
    return "".join(_comment(line) for line in comments) + _yaml(made.recipe)


def _yaml(values: dict[str, Any]) -> str:
    # Copied, since what stands twice in it (the two stages' kernels) would be written as an alias.
    plain = json.loads(json.dumps(values))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return text


def document(made: Imported, source: Path, output: Path, degradation: Path | None) -> dict[str, Any]:
    """{"source", "recipe", "degradation": a preset's name, a file or None, "mapped", "ignored", "unmapped"}."""
    options = made.options
    return {
        "source": str(source),
        "recipe": str(output),
        "degradation": str(degradation) if degradation else made.recipe["data"].get("degradation"),
        "mapped": [{"key": e.key, "value": e.value, "setting": e.text} for e in options.mapped],
        "ignored": [{"key": e.key, "value": e.value, "reason": e.text} for e in options.ignored],
        "unmapped": [{"key": e.key, "value": e.value, "meaning": e.text} for e in options.unmapped],
    }


def report(found: dict[str, Any]) -> str:
    """The document for people: what could not be mapped comes last, where it is seen."""
    beside = found["degradation"]
    files = found["recipe"] + (f" and {beside}" if str(beside).endswith("-degradation.yaml") else "")
    lines = [f"Wrote {files}."]
    for name, kind, title in (
        ("mapped", "setting", "Mapped"),
        ("ignored", "reason", "Ignored, without effect here"),
        ("unmapped", "meaning", "Not mapped: look at these"),
    ):
        entries = [Entry(row["key"], row["value"], row[kind]) for row in found[name]]
        width = min(max((len(_key_value(entry)) for entry in entries), default=0), 56)
        lines += ["", f"{title} ({len(entries)})"]
        lines += [f"  {_line(entry, f'<{width}')}" for entry in entries]
    return "\n".join(lines)


def _key_value(entry: Entry) -> str:
    return f"{shown(entry.key)}: {shown(entry.value)}"


def _line(entry: Entry, width: str) -> str:
    return f"{_key_value(entry):{width}}  {entry.text}"


def _comment(line: str) -> str:
    return "# " + "".join(character if character.isprintable() else "?" for character in line) + "\n"
