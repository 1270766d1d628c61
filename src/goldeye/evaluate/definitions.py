"""A metric's definition as a sentence, the same in every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def definition_text(definition: Mapping[str, Any]) -> str:
    """What a figure rests on: colours, range, window, formula, weight and parameter files, library, crop, target.

    `definition` is that of an evaluation's or a benchmark's JSON.
    """
    parts = [definition[key] for key in ("colour", "range", "window", "formula", "backbone") if key in definition]
    files = [*definition.get("weights", []), *([definition["parameters"]] if "parameters" in definition else [])]
    parts += [
        f"{file['file']} (SHA-256 {file['sha256'][:16]}…)" + (f", {file['source']}" if "source" in file else "")
        for file in files
    ]
    parts += [definition["library"], f"border crop {definition['crop_border']}"]
    parts += [f"against {definition['against']}"] if "against" in definition else []
    return f"{definition['name']}: {'; '.join(parts)}."
