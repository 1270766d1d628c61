"""Draw docs/images/degradation.png: every preset on two photos, three samples of each.

python docs/make_degradation_sheet.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from goldeye.degrade import PRESETS, degrade_picture
from goldeye.images import to_float, to_uint8

OUTPUT = Path(__file__).parent / "images" / "degradation.png"
SAMPLES, CELL, LABEL = 3, 128, 150  # samples of a photo, pixels of a cell, pixels of a name
PHOTOS = [data.astronaut()[:256, 80:336], data.chelsea()[20:276, 80:336]]  # 256 x 256, free to use


def cell(picture: np.ndarray) -> Image.Image:
    """An LR picture by pixel repetition, a picture of the GT's size by its middle."""
    if picture.shape[0] > CELL:
        start = (picture.shape[0] - CELL) // 2
        picture = picture[start : start + CELL, start : start + CELL]
    return Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.NEAREST)


def main() -> None:
    columns = len(PHOTOS) * SAMPLES
    sheet = Image.new("RGB", (LABEL + columns * (CELL + 4), len(PRESETS) * (CELL + 4)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, (name, pipeline) in enumerate(PRESETS.items()):
        top = row * (CELL + 4)
        draw.text((6, top + CELL // 2 - 8), name, "black", font)
        for column in range(columns):
            gt = to_float(np.ascontiguousarray(PHOTOS[column // SAMPLES]))
            lr, _ = degrade_picture(gt, pipeline, np.random.default_rng([7, column % SAMPLES]), 4)
            sheet.paste(cell(to_uint8(lr)), (LABEL + column * (CELL + 4), top))
    OUTPUT.parent.mkdir(exist_ok=True)
    sheet.save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
