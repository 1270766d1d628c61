"""How much tiles change a result, and whether their borders can be seen: for trained weights.

    python benchmarks/seams.py MODEL... [--pictures DIR] [--tile 96] [--markdown FILE]

For each model, picture and padding: the difference between the result in tiles and the result of the whole picture, in
levels of 255 (mean, largest), and the seam: how much larger the difference's step from one pixel to the next is, on
average, across the borders of tiles than anywhere else (0 is invisible). "hard" cuts at the border, "blended" fades.
Random weights barely use their receptive field: only trained ones tell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from goldeye.images import FloatPicture, find_images, read_image, to_float
from goldeye.images.tiles import cut
from goldeye.networks.weights import LoadedModel, load_model
from goldeye.upscale import Upscaler
from goldeye.upscale.finish import reader


def gradient(side: int) -> FloatPicture:
    """A smooth sky: brightness and hue change slowly across the picture."""
    y, x = np.mgrid[:side, :side] / side
    return np.stack([0.35 + 0.4 * y, 0.5 + 0.3 * y + 0.05 * x, 0.75 + 0.1 * x + 0.05 * y], axis=-1).astype(np.float32)


def result(model: LoadedModel, picture: FloatPicture, *, tile: int, pad: int, blended: bool) -> Tensor:
    """The network's result (3, H·scale, W·scale), put together from tiles."""
    upscaler = Upscaler(model.module, scale=model.scale, tile=tile, tile_pad=pad)
    upscaler._blends = blended
    height, width = picture.shape[:2]
    out = torch.empty(3, height * model.scale, width * model.scale)
    for area, values in upscaler.pieces(reader(picture), height, width):
        rows = slice(area.top * model.scale, area.bottom * model.scale)
        out[:, rows, area.left * model.scale : area.right * model.scale] = values
    return out


def seam(difference: Tensor, model: LoadedModel, tile: int, pad: int) -> float:
    """Mean |step| of the difference across the tiles' borders less that elsewhere, in its unit."""
    multiple = int(getattr(model.module, "size_multiple", 1))
    total = []
    for dim in (1, 2):
        axis = cut(difference.shape[dim] // model.scale, tile, pad, multiple)
        borders = [border * model.scale for border in axis.borders[1:-1]]
        steps = difference.diff(dim=dim).abs().mean(dim=[d for d in (0, 1, 2) if d != dim])
        at = torch.zeros(len(steps), dtype=torch.bool)
        at[[b - 1 for b in borders]] = True
        total.append(float(steps[at].mean() - steps[~at].mean()))
    return float(np.mean(total))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pictures", type=Path, help="LR pictures with texture (default: the smooth gradient alone)")
    parser.add_argument("--tile", type=int, default=96)
    parser.add_argument("--pads", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    pictures = {"gradient": gradient(224)}
    for path in find_images(options.pictures) if options.pictures else []:
        picture = to_float(read_image(path))
        if min(picture.shape[:2]) > options.tile + 2 * min(options.pads):
            pictures[path.stem] = picture
    lines = ["| model | picture | pad | mean hard / blended | largest hard / blended | seam hard / blended |"]
    lines += ["|---|---|---|---|---|---|"]
    for name in options.models:
        model = load_model(name)
        for title, picture in pictures.items():
            whole = result(model, picture, tile=max(picture.shape), pad=0, blended=False)
            for pad in options.pads:
                cells = []
                for blended in (False, True):
                    tiled = result(model, picture, tile=options.tile, pad=pad, blended=blended)
                    difference = (tiled - whole) * 255
                    step = seam(difference, model, options.tile, pad)
                    cells.append((float(difference.abs().mean()), float(difference.abs().max()), step))
                pairs = " | ".join(f"{hard:.3f} / {soft:.3f}" for hard, soft in zip(*cells, strict=True))
                lines.append(f"| {name} | {title} | {pad} | {pairs} |")
                print(lines[-1], flush=True)  # noqa: T201
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
