"""The demo's photos: scikit-image's pictures, lightly spoilt so that there is something to enhance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from goldeye.degrade import kernels, ops
from goldeye.images import FloatPicture, Picture, read_image, to_float, to_uint8, write_image

TRAIN = ("astronaut", "chelsea", "rocket")
TEST = ("motorcycle_left", "coffee")
# What each photo suffers: (sigma of the blur in pixels, sigma of the noise of 255, JPEG quality). Some are mostly noisy
# and some mostly soft, so that the noise and the blur enhancers each have their say.
SPOIL = {
    "astronaut": (0.9, 2.0, 95),
    "chelsea": (0.3, 12.0, 95),
    "rocket": (0.4, 4.0, 92),
    "motorcycle_left": (1.0, 2.0, 95),
    "coffee": (0.3, 14.0, 95),
}


def write_photos(output: Path, *, seed: int, side: int | None) -> None:
    """clean/ (kept hidden from every model), photos/ (the spoilt copies), photos-train/ and photos-test/ (copies).

    `side` cuts the middle side x side pixels out of each picture (for tests).
    """
    from skimage import data

    for number, name in enumerate((*TRAIN, *TEST)):
        loaded = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
        clean = _middle(loaded[..., :3], side)
        photo = _spoil(clean, name, np.random.default_rng([seed, number]))
        write_image(output / "clean" / f"{name}.png", clean)
        write_image(output / "photos" / f"{name}.png", photo)
        write_image(output / ("photos-train" if name in TRAIN else "photos-test") / f"{name}.png", photo)


def _middle(picture: Picture, side: int | None) -> Picture:
    if side is None:
        return picture
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def _spoil(clean: Picture, name: str, rng: np.random.Generator) -> Picture:
    blur, noise, quality = SPOIL[name]
    picture = ops.blur(to_float(clean), kernels.isotropic_gaussian(7, blur))
    picture = ops.gaussian_noise(picture, noise, False, rng)
    return to_uint8(ops.jpeg(picture, quality))


def oversharpen(photo: FloatPicture) -> FloatPicture:
    """The fifth candidate: unsharp masking far too strong, as a heavy hand with an editor would do."""
    soft = ops.blur(photo, kernels.isotropic_gaussian(9, 1.5))
    return np.clip(photo + 3.0 * (photo - soft), 0, 1).astype(np.float32)


def write_oversharpened(photos: Path, output: Path) -> None:
    """A folder of over-sharpened copies, to come in through `enhance --folder`."""
    for path in sorted(photos.glob("*.png")):
        write_image(output / path.name, to_uint8(oversharpen(to_float(read_image(path)))))
