"""Draw what the bundled models do: docs/images/before-after.jpg and docs/images/enhancers.jpg.

python docs/make_model_sheets.py

The pictures are scikit-image's, which no bundled model has seen: degraded x4 with `hggt` (seed 1) for the x4 models,
blurred and noised for the enhancers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from goldeye import load_model
from goldeye.degrade import degrade_picture, get_pipeline, kernels, ops
from goldeye.images import Picture, matlab_resize, to_float, to_uint8
from goldeye.networks.known import bundled_enhancers

IMAGES = Path(__file__).parent / "images"
CELL, GAP, HEAD = 232, 6, 22
UPSCALED = (("astronaut", 20, 120), ("chelsea", 60, 100), ("coffee", 60, 220))
# Picture, corner of the crop, sigma of the blur, sigma of the noise of 255.
ENHANCED = (("chelsea", 80, 110, 0.3, 11.0), ("astronaut", 20, 150, 1.0, 2.0), ("coffee", 90, 220, 0.8, 5.0))
CROP = 116  # of the enhancers' pictures, shown twice as large


def upscaled() -> Image.Image:
    columns = ("LR, pixels enlarged", "bicubic", "goldeye-x4-fidelity", "goldeye-x4", "the photo")
    models = [load_model(name) for name in columns[2:4]]
    rows = []
    for number, (name, top, left) in enumerate(UPSCALED):
        photo = getattr(data, name)()[..., :3]
        photo = photo[: photo.shape[0] // 4 * 4, : photo.shape[1] // 4 * 4]
        lr, _ = degrade_picture(to_float(photo), get_pipeline("hggt"), np.random.default_rng([1, number]), 4)
        small = to_uint8(lr)
        results = [
            small.repeat(4, axis=0).repeat(4, axis=1),
            to_uint8(matlab_resize(to_float(small), *photo.shape[:2])),
            *(model.upscale(small) for model in models),
            photo,
        ]
        rows.append([result[top : top + CELL, left : left + CELL] for result in results])
    return sheet(columns, rows)


def enhanced() -> Image.Image:
    enhancers = bundled_enhancers()
    models = [load_model(name) for name in enhancers.values()]
    rows = []
    for number, (name, top, left, blur, noise) in enumerate(ENHANCED):
        photo = to_float(getattr(data, name)()[..., :3])
        spoilt = ops.blur(photo, kernels.isotropic_gaussian(7, blur))
        spoilt = ops.gaussian_noise(spoilt, noise, False, np.random.default_rng([2, number]))
        given = to_uint8(ops.jpeg(spoilt, 95))
        results = [given, *(model.upscale(given) for model in models)]
        window = (slice(top, top + CROP), slice(left, left + CROP))
        rows.append([result[window].repeat(2, axis=0).repeat(2, axis=1) for result in results])
    return sheet(("photo", *enhancers), rows)


def sheet(columns: tuple[str, ...], rows: list[list[Picture]]) -> Image.Image:
    """Pictures of CELL x CELL in a grid, the columns named."""
    drawn = Image.new("RGB", (len(columns) * (CELL + GAP) - GAP, HEAD + len(rows) * (CELL + GAP) - GAP), "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(13)
    for column, title in enumerate(columns):
        pen.text((column * (CELL + GAP) + 2, 3), title, fill="black", font=font)
        for row, pictures in enumerate(rows):
            drawn.paste(Image.fromarray(pictures[column]), (column * (CELL + GAP), HEAD + row * (CELL + GAP)))
    return drawn


if __name__ == "__main__":
    upscaled().save(IMAGES / "before-after.jpg", quality=90)
    enhanced().save(IMAGES / "enhancers.jpg", quality=90)
