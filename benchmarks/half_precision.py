"""What bfloat16 costs in quality: results of trained weights in bf16 beside fp32, and against the originals.

    python benchmarks/half_precision.py MODEL... --lr DIR --hr DIR

Prints for each model the PSNR between the two results (mean and least over the pictures, RGB), their largest difference
in levels of 255, and how much the PSNR to the originals changes (RGB, border crop 4).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from goldeye.evaluate.metrics import psnr
from goldeye.images import find_images, read_image
from goldeye.networks.weights import load_model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lr", type=Path, required=True, help="small pictures")
    parser.add_argument("--hr", type=Path, required=True, help="their originals, of the same names")
    options = parser.parse_args()
    for name in options.models:
        model = load_model(name)
        between, change, largest = [], [], 0
        for path in find_images(options.lr):
            lr, hr = read_image(path), read_image(options.hr / path.name)
            exact, half = model.upscale(lr), model.upscale(lr, precision="bf16")
            hr = hr[: exact.shape[0], : exact.shape[1]]
            between.append(psnr(half, exact, crop_border=0))
            largest = max(largest, int(np.abs(half.astype(int) - exact).max()))
            change.append(psnr(half, hr, crop_border=4) - psnr(exact, hr, crop_border=4))
        print(  # noqa: T201
            f"{name}: bf16 to fp32 {np.mean(between):.2f} dB (least {min(between):.2f}), at most {largest} levels; "
            f"to the originals {np.mean(change):+.4f} dB ({min(change):+.4f} to {max(change):+.4f})"
        )


if __name__ == "__main__":
    main()
