"""Example pictures for the guideline, drawn by code: one scene, and what enhancement makes of it, well or badly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from goldeye.errors import unknown_name

Floats = npt.NDArray[np.float64]
SIDE = 224  # pixels


def draw_example(name: str) -> npt.NDArray[np.uint8]:
    """The example of that name: (224, 224, 3) uint8 RGB, the same every time."""
    if name not in EXAMPLES:
        raise unknown_name("example", name, EXAMPLES)
    picture = EXAMPLES[name](_scene())
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _scene() -> Floats:
    """A wall of bricks with a round window, a tree before it, and sky: edges, regular and irregular texture, flats."""
    side = 2 * SIDE  # drawn twice as large, so that edges come out smooth
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:side, 0:side] / side
    sky = np.stack([0.55 + 0.25 * y, 0.68 + 0.18 * y, 0.86 + 0.06 * y], axis=-1)

    row = np.floor(y * 17)
    along = x * 9 + 0.5 * (row % 2)
    mortar = (np.abs(y * 17 - row - 0.5) > 0.42) | (np.abs(along - np.floor(along) - 0.5) > 0.455)
    tone = 0.8 + 0.35 * rng.random((18, 12))[row.astype(int), np.floor(along).astype(int)]
    grain = 1 + 0.14 * _noise(rng, side, 1.5)
    bricks = np.stack([0.60 * tone, 0.33 * tone, 0.25 * tone], axis=-1) * grain[..., None]
    bricks[mortar] = 0.74
    roof = y > 0.30 + 0.24 * np.abs(x - 0.42)
    picture = np.where(roof[..., None], bricks, sky)

    radius = np.hypot(x - 0.36, y - 0.60)
    pane = (np.abs(x - 0.36) > 0.008) & (np.abs(y - 0.60) > 0.008)
    glass = np.stack([0.20 + 0.3 * y, 0.26 + 0.3 * y, 0.34 + 0.3 * y], axis=-1)
    picture = np.where((radius < 0.155)[..., None], np.array([0.93, 0.90, 0.82]), picture)
    picture = np.where(((radius < 0.125) & pane)[..., None], glass, picture)

    leaves = _noise(rng, side, 2.2) + 0.6 * _noise(rng, side, 5)
    crown = np.hypot((x - 0.86) / 0.30, (y - 0.66) / 0.42) + 0.10 * _noise(rng, side, 9) < 1
    light = 0.36 + 0.16 * leaves
    green = np.stack([0.62 * light, light, 0.34 * light], axis=-1)
    picture = np.where((crown & (leaves > -0.9))[..., None], green, picture)
    return np.asarray(picture.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)))


def _noise(rng: np.random.Generator, side: int, size: float) -> Floats:
    """Smooth noise with spots of about `size` pixels, mean 0, standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), size)
    return np.asarray(field / field.std())


def _blur(picture: Floats, sigma: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(picture, (sigma, sigma, 0)))


def _grain(picture: Floats, strength: float) -> Floats:
    return np.asarray(picture + np.random.default_rng(7).normal(0, strength, picture.shape))


def _photo(scene: Floats) -> Floats:
    """As a camera might have taken it: a little soft, a little noise."""
    return _grain(_blur(scene, 1.0), 0.022)


def _positive(scene: Floats) -> Floats:
    return scene + 0.25 * (scene - _blur(scene, 1.2))


def _similar(scene: Floats) -> Floats:
    return 0.5 + 1.03 * (_grain(_blur(scene, 0.95), 0.021) - 0.5)


def _oversharpened(scene: Floats) -> Floats:
    photo = _blur(scene, 0.9)
    return photo + 3.2 * (photo - _blur(photo, 2.2))


def _false_detail(scene: Floats) -> Floats:
    """Worm-like lines where there was texture, as adversarial training makes them."""
    soft = _blur(scene, 1.3)
    busy = _blur(np.abs(scene - _blur(scene, 2)).mean(axis=-1, keepdims=True), 3)
    worms = np.sin(6 * _noise(np.random.default_rng(11), SIDE, 3.2))[..., None]
    return soft + 2.4 * worms * np.clip(busy - 0.01, 0, 0.05)


EXAMPLES: dict[str, Callable[[Floats], Floats]] = {
    "original.png": _photo,
    "positive.png": _positive,
    "similar.png": _similar,
    "oversharpened.png": _oversharpened,
    "false-detail.png": _false_detail,
    "noise.png": lambda scene: _grain(_blur(scene, 1.0), 0.085),
    "blurred.png": lambda scene: _blur(scene, 2.4),
    "clean.png": lambda scene: scene,
}
