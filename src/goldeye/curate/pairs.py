"""`goldeye pairs`: the HR/LR construction of EDL (its Eq. 9 and 10) from pictures that are themselves noisy.

DIR/HR/NAME.png    the source, bicubic down by the clean-up factor
DIR/LR/NAME.png    HR, bicubic down by the scale
DIR/pairs.jsonl    a line a pair: name, output, sha256 of the source, size of HR (height, width), clean, scale
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from goldeye.batch import BatchResult, track
from goldeye.degrade.noise_bank import NoiseBank
from goldeye.errors import ImageError, InvalidInput
from goldeye.files import read_rows, sha256, write_lines
from goldeye.images import Picture, find_images, matlab_resize, read_image, to_float, to_uint8, write_image

RECORD = "pairs.jsonl"


def hr_lr_pair(source: Picture, clean: int, scale: int) -> tuple[Picture, Picture]:
    """(H, W, 3) to I_HR (H // clean, …) and I_LR (H // clean // scale, …), uint8, MATLAB bicubic.

    The source is cropped first, at its right and lower side, to multiples of clean * scale. I_LR is made from the
    rounded I_HR, so that it is exactly what `bicubic` makes of the HR file. ValueError if nothing is left.
    """
    height, width = (side // (clean * scale) * scale for side in source.shape[:2])
    if min(height, width) == 0:
        raise ValueError(f"at least {clean * scale} pixels a side are needed, not {source.shape[:2]}")
    hr = to_uint8(matlab_resize(to_float(source[: height * clean, : width * clean]), height, width))
    return hr, to_uint8(matlab_resize(to_float(hr), height // scale, width // scale))


def make_pairs(
    source: Path, output: Path, *, clean: int = 2, scale: int = 4, noise_bank: Path | None = None
) -> BatchResult:
    """Make the pair of every picture of `source` (a folder or one file) as PNGs of equal relative names.

    With `noise_bank` only the pictures that gave noise to it as its auxiliary set (NGDC), found by their contents.
    Pairs made of the same picture with the same factors are skipped; a picture that cannot be read or is too small
    fails by name and the rest goes on. Entries of the result: {"input", "hr", "lr"}, failed ones {"input", "error"}.
    """
    for word, factor in (("clean-up factor", clean), ("scale", scale)):
        if factor < 1:
            raise InvalidInput(f"The {word} must be 1 or more, not {factor}.")
    root = source if source.is_dir() else source.parent
    if output.resolve() == root.resolve():
        raise InvalidInput(f"The output folder '{output}' holds the input; pairs need a folder of their own.")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    images = [path for path in find_images(source) if not path.resolve().is_relative_to(output.resolve())]
    if not images:
        raise InvalidInput(f"All pictures of '{source}' lie in the output folder '{output}'.")
    wanted = None if noise_bank is None else _giving(noise_bank)

    record = output / RECORD
    rows = {str(row.get("output")): row for row in read_rows(record)}
    write_lines(record, list(rows.values()))  # without the torn line that a killed run may have left
    result = BatchResult()
    taken: dict[str, Path] = {}
    matched = False
    with record.open("a", encoding="utf-8", newline="\n") as lines:
        for path in track(images, "pairs", len(images)):
            name = path.relative_to(root)
            target = name.with_suffix(".png").as_posix()
            hr, lr = output / "HR" / target, output / "LR" / target
            item = {"input": str(path), "hr": str(hr), "lr": str(lr)}
            try:
                row = {
                    "name": name.as_posix(),
                    "output": target,
                    "sha256": sha256(path),
                    "clean": clean,
                    "scale": scale,
                }
                if wanted is not None and row["sha256"] not in wanted:
                    continue
                matched = True
                if taken.setdefault(target, path) != path:
                    raise ImageError(f"'{path}' would be written over the pair of '{taken[target]}'.")
                earlier = rows.get(target, {})
                if all(earlier.get(key) == value for key, value in row.items()) and hr.is_file() and lr.is_file():
                    result.skipped.append(item)
                    continue
                row |= _write_pair(path, hr, lr, clean, scale)
            except (ImageError, OSError, MemoryError) as error:
                result.failed.append({"input": str(path), "error": str(error)})
                continue
            rows[target] = row
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            result.done.append(item)
    write_lines(record, sorted(rows.values(), key=lambda row: str(row["output"])))
    if wanted is not None and not matched and not result.failed:
        raise InvalidInput(f"No picture of '{source}' gave noise to the bank '{noise_bank}'.")
    return result


def _giving(bank: Path) -> set[str]:
    """SHA-256 of the auxiliary pictures with at least one patch in the bank."""
    opened = NoiseBank.open(bank)
    if "auxiliary" not in opened.record.counts:
        raise InvalidInput(f"The noise bank '{bank}' was made without an auxiliary set.")
    return {row["sha256"] for row in opened.sources if row["set"] == "auxiliary" and row["patches"] > 0}


def _write_pair(path: Path, hr: Path, lr: Path, clean: int, scale: int) -> dict[str, Any]:
    """Write the two pictures; what the record says beside the settings."""
    source = read_image(path)
    if min(source.shape[:2]) < clean * scale:
        size = f"{source.shape[1]} x {source.shape[0]}"
        raise ImageError(f"'{path}' is too small: {size} pixels, of at least {clean * scale} a side.")
    pair = hr_lr_pair(source, clean, scale)
    for target, picture in zip((hr, lr), pair, strict=True):
        write_image(target, picture)
    return {"height": pair[0].shape[0], "width": pair[0].shape[1]}
