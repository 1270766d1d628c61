"""`goldeye degrade`: LR pictures of a folder, with the parameters that made each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.batch import BatchResult, track
from goldeye.degrade.pipelines import Pipeline
from goldeye.degrade.presets import get_pipeline
from goldeye.errors import ImageError, InvalidInput
from goldeye.files import write_lines
from goldeye.images import find_images, read_image, to_float, to_uint8, write_image

RECORD = "degradations.jsonl"


def degrade_folder(source: Path, output: Path, *, preset: str, scale: int = 4, seed: int = 0) -> BatchResult:
    """Degrade every picture of `source` (a folder or one file) to a PNG of the same relative name under `output`.

    Picture n of the sorted list uses `default_rng([seed, n])`, so its result depends on nothing else. Beside the
    pictures lies degradations.jsonl, a line for each: {"name", "output", "number", "seed", "preset", "scale",
    "cropped" ([height, width] of what was used, when the size was no multiple of the scale), "parameters"}. Pictures
    finished with the same settings are skipped; one that cannot be read or is too small fails by name, and the rest
    goes on.
    """
    pipeline = get_pipeline(preset)
    pipeline.check_scale(scale)
    if seed < 0:
        raise InvalidInput(f"The seed must be 0 or more, not {seed}.")
    root = source if source.is_dir() else source.parent
    if output.resolve() == root.resolve():
        raise InvalidInput(f"The output folder '{output}' holds the input, which would be overwritten.")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    images = [path for path in find_images(source) if not path.resolve().is_relative_to(output.resolve())]
    if not images:
        raise InvalidInput(f"All pictures of '{source}' lie in the output folder '{output}'.")

    record = output / RECORD
    rows = _read_record(record)
    write_lines(record, list(rows.values()))  # without the torn line that a killed run may have left
    result = BatchResult()
    taken: dict[Path, Path] = {}
    with record.open("a", encoding="utf-8", newline="\n") as lines:
        for number, path in enumerate(track(images, "degrade", len(images))):
            name = path.relative_to(root)
            target = output / name.with_suffix(".png")
            item = {"input": str(path), "output": str(target)}
            parameters = pipeline.draw(np.random.default_rng([seed, number]), scale)
            row = {
                "name": name.as_posix(),
                "output": target.relative_to(output).as_posix(),
                "number": number,
                "seed": seed,
                "preset": preset,
                "scale": parameters["scale"],
                "parameters": parameters,
            }
            try:
                if taken.setdefault(target, path) != path:
                    raise ImageError(f"'{path}' would be written over the result of '{taken[target]}'.")
                if _is_finished(rows.get(row["output"]), row) and target.is_file():
                    result.skipped.append(item)
                    continue
                row |= _degrade_file(path, target, pipeline, parameters)
            except ImageError as error:
                result.failed.append({"input": str(path), "error": error.message})
                continue
            rows[row["output"]] = row
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            lines.flush()
            result.done.append(item)
    write_lines(record, sorted(rows.values(), key=lambda row: str(row["output"])))
    return result


def _degrade_file(path: Path, target: Path, pipeline: Pipeline, parameters: dict[str, Any]) -> dict[str, Any]:
    """Write the LR picture; what the record says beside the parameters."""
    gt = to_float(read_image(path))
    height, width = (side - side % parameters["scale"] for side in gt.shape[:2])
    if min(height, width) < pipeline.MIN_SIDE:
        raise ImageError(
            f"'{path}' is too small: {gt.shape[1]} x {gt.shape[0]} pixels, of at least {pipeline.MIN_SIDE} a side."
        )
    cropped = {} if (height, width) == gt.shape[:2] else {"cropped": [height, width]}
    write_image(target, to_uint8(pipeline.apply(np.ascontiguousarray(gt[:height, :width]), parameters)))
    return cropped


def _is_finished(earlier: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    """The same settings drew the same parameters (a pipeline's file may have changed under its name)."""
    return earlier is not None and all(earlier.get(key) == value for key, value in row.items())


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of an earlier run by output, the last one of each; torn lines are passed over."""
    rows: dict[str, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                rows[row["output"]] = row
            except (ValueError, TypeError, KeyError):
                continue
    return rows
