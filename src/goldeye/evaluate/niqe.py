"""NIQE (Mittal, Soundararajan and Bovik 2013): how far a picture's local statistics lie from those of pristine ones.

No reference picture is needed, but the pristine statistics are: a published file, or ones fitted here. Equal to
BasicSR's figures within the differences of its float32; all here is in float64.
"""

from __future__ import annotations

import importlib.util
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import gamma

from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.evaluate.planes import RANGE, AnyPicture, Values, cropped, gaussian_taps, luma, size_text, valid_filter
from goldeye.files import atomic_path, sha256
from goldeye.images.resize import keys_cubic

BLOCK = 96
WINDOW, SIGMA = 7, 7 / 6
FEATURES = 36
SHARPEST = 0.75  # a picture's blocks above this share of its largest sharpness are pristine (Mittal et al., T)
VARIABLE = "GOLDEYE_NIQE_PARAMS"
HINT = (
    "Give the published niqe_pris_params.npz (or the authors' .mat), or make one of sharp photos: "
    f"`goldeye niqe fit FOLDER -o FILE`; {VARIABLE} can name it, too."
)

# Both spellings are published: BasicSR's and the authors'.
_KEYS = (("mu_pris_param", "cov_pris_param"), ("mu_prisparam", "cov_prisparam"))
_PUBLISHED = {
    "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296": "the published model, as BasicSR carries it"
}
_STRIP = 32
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_NOTHING = 1e-6  # an 8-bit step changes a normalised value by more than 1e-4; below lies what rounding left of 0


@dataclass(frozen=True, eq=False)
class NiqeParameters:
    """The pristine statistics: mean (36,), covariance (36, 36), the window's taps (7), and where they come from."""

    mean: Values
    covariance: Values
    taps: tuple[float, ...]
    source: dict[str, Any]


def niqe_parts(parameters: NiqeParameters) -> dict[str, Any]:
    """NIQE's own parts of its definition; a file may carry another window than the published Gaussian."""
    published = np.allclose(parameters.taps, gaussian_taps(WINDOW, SIGMA), rtol=0, atol=1e-6)
    window = "Gaussian {0}x{0}, sigma 7/6" if published else "{0}x{0} window of the parameter file, not the Gaussian"
    return {
        "colour": "Y of YCbCr, BT.601 studio range (16..235), rounded",
        "range": RANGE,
        "window": f"{window.format(WINDOW)}; {BLOCK}x{BLOCK} blocks from the top left, without the rest",
        "formula": "Mittal et al. 2013 at two scales, 36 features a block, flat blocks left out",
        "parameters": parameters.source,
    }


def niqe(picture: AnyPicture, parameters: NiqeParameters, *, crop_border: int) -> float:
    """NIQE of an RGB picture (H, W, 3) less `crop_border` pixels on every side; lower is more natural.

    InvalidInput when fewer than two blocks of 96x96 pixels are there, or are not flat.
    """
    features, _ = block_features(_plane(picture, crop_border), parameters.taps)
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        raise InvalidInput(
            f"NIQE needs two blocks of {BLOCK}x{BLOCK} pixels that are not flat; this has {len(complete)}."
        )
    difference = parameters.mean - np.nanmean(features, axis=0)
    pooled = (parameters.covariance + np.cov(complete, rowvar=False)) / 2
    return math.sqrt(max(float(difference @ np.linalg.pinv(pooled) @ difference), 0.0))


def block_features(plane: Values, taps: tuple[float, ...]) -> tuple[Values, Values]:
    """The 36 features of each block (blocks, 36), NaN where a block is flat, and each block's sharpness (blocks,).

    plane: (H, W) in 0..255, sides multiples of 96. Sharpness is the mean local deviation over the block.
    """
    normalised, deviation = _normalise(plane, taps)
    sharpness = _blocks(deviation, BLOCK).mean(axis=(1, 2))
    smaller, _ = _normalise(_halve(plane), taps)
    features = [_scale_features(normalised, BLOCK), _scale_features(smaller, BLOCK // 2)]
    return np.concatenate(features, axis=1), sharpness


def _plane(picture: AnyPicture, crop_border: int) -> Values:
    inner = cropped(picture, crop_border)
    height, width = (side // BLOCK * BLOCK for side in inner.shape[:2])
    if height * width < 2 * BLOCK**2:
        raise InvalidInput(
            f"NIQE needs two blocks of {BLOCK}x{BLOCK} pixels; the cropped picture has {size_text(inner)}."
        )
    return np.asarray(np.rint(luma(inner[:height, :width])))


def _normalise(plane: Values, taps: tuple[float, ...]) -> tuple[Values, Values]:
    """Each value less the local mean, over the local deviation + 1; and that deviation. (H, W) both."""
    padded = np.pad(plane, len(taps) // 2, mode="edge")
    normalised, deviations = np.empty_like(plane), np.empty_like(plane)
    # In strips that stay in the cache.
    for top in range(0, len(plane), _STRIP):
        strip = padded[top : top + _STRIP + len(taps) - 1]
        mean, deviation = valid_filter(np.stack([strip, np.square(strip)]), taps)
        deviation -= np.square(mean)
        np.sqrt(np.abs(deviation, out=deviation), out=deviation)
        values = np.subtract(plane[top : top + _STRIP], mean, out=mean)
        values /= deviation + 1
        # In exact arithmetic flat parts are 0; what is left of rounding would be counted as negative or positive.
        values[np.abs(values) < _NOTHING] = 0
        normalised[top : top + _STRIP], deviations[top : top + _STRIP] = values, deviation
    return normalised, deviations


def _halve(plane: Values) -> Values:
    """MATLAB's bicubic resize by 1/2, antialiased, of even sides; in float64."""
    taps = keys_cubic(np.arange(-3.5, 4) / 2, -0.5)
    return valid_filter(np.pad(plane, 3, mode="symmetric"), tuple((taps / taps.sum()).tolist()), step=2)


def _blocks(plane: Values, side: int) -> Values:
    """(H, W) → (blocks, side, side), row by row."""
    rows, columns = (length // side for length in plane.shape)
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _scale_features(plane: Values, side: int) -> Values:
    """(blocks, 18): the values' shape and mean deviation, then four products' shape, mean and both deviations."""
    # A row of blocks at a time stays in the cache.
    rows = [_row_features(_blocks(plane[top : top + side], side)) for top in range(0, len(plane), side)]
    return np.concatenate(rows)


def _row_features(blocks: Values) -> Values:
    side = blocks.shape[-1]
    # The neighbour of a block's first row and column is its last: official code shifts each block by itself.
    around = np.pad(blocks, ((0, 0), (1, 0), (1, 1)), mode="wrap")
    shape, left, right, _ = _fit(blocks)
    columns = [shape, (left + right) / 2]
    product = np.empty_like(blocks)
    for down, across in _SHIFTS:
        np.multiply(blocks, around[:, 1 - down : 1 - down + side, 1 - across : 1 - across + side], out=product)
        shape, left, right, mean = _fit(product)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _fit(blocks: Values) -> tuple[Values, Values, Values, Values]:
    """Fit an asymmetric generalized Gaussian to each block: shape, left and right scale, mean; (blocks,) each.

    By moments (Lasmar, Stitou and Berthoumieu 2009). NaN for a block without negative or positive values.
    """
    values = blocks.reshape(len(blocks), -1)
    below = np.minimum(values, 0)
    squares, squares_below = (np.einsum("ij,ij->i", each, each) for each in (values, below))
    count_below, count_above = ((sign).sum(axis=1, dtype=np.float64) for sign in (values < 0, values > 0))
    absolute = values.sum(axis=1) - 2 * below.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt(squares_below / count_below)
        right = np.sqrt((squares - squares_below) / count_above)
        ratio = left / right
        observed = absolute**2 / (squares * values.shape[1])
        observed *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    ratios, scales, means = _table()
    nearest = np.searchsorted((ratios[1:] + ratios[:-1]) / 2, observed)
    known = np.isfinite(observed)
    left, right = (np.where(known, each * scales[nearest], np.nan) for each in (left, right))
    shape = np.where(known, _shapes()[nearest], np.nan)
    return shape, left, right, (right - left) * means[nearest]


def _shapes() -> Values:
    """The grid of shapes that official code searches: 0.2, 0.201 … 10."""
    return np.asarray(0.2 + 0.001 * np.arange(9801), np.float64)


@lru_cache(maxsize=1)
def _table() -> tuple[Values, Values, Values]:
    """By shape g: Γ(2/g)² / (Γ(1/g) Γ(3/g)), which rises with g; √(Γ(1/g) / Γ(3/g)); Γ(2/g) / Γ(1/g)."""
    one, two, three = (np.asarray(gamma(k / _shapes()), np.float64) for k in (1, 2, 3))
    return two**2 / (one * three), np.sqrt(one / three), two / one


# Pristine parameters ---------------------------------------------------------------------------------------------


def load_parameters(path: Path | None = None) -> NiqeParameters:
    """The pristine parameters of a file, of GOLDEYE_NIQE_PARAMS, or of an installed BasicSR, in this order.

    InvalidInput when there are none, or the file holds none.
    """
    path = path or _find()
    if path is None:
        raise InvalidInput("NIQE needs pristine parameters, and there are none here.", hint=HINT)
    if not path.is_file():
        raise InvalidInput(f"There is no file '{path}' with NIQE parameters.", hint=HINT)
    found = _read(path)
    names = next((pair for pair in _KEYS if found.keys() >= set(pair)), None)
    if names is None:
        raise InvalidInput(f"'{path}' holds no NIQE parameters ({_KEYS[0][0]} and {_KEYS[0][1]}).", hint=HINT)
    mean, covariance = (np.asarray(found[name], np.float64) for name in names)
    if mean.size != FEATURES or covariance.shape != (FEATURES, FEATURES) or not np.isfinite(covariance).all():
        raise InvalidInput(f"The NIQE parameters of '{path}' are not 36 means and a covariance of 36x36.")
    digest = sha256(path)
    source = str(found["source"]) if "source" in found else _PUBLISHED.get(digest, "a file of unknown origin")
    taps = _taps(np.asarray(found["gaussian_window"], np.float64), path) if "gaussian_window" in found else None
    return NiqeParameters(
        mean.ravel(),
        covariance,
        taps or gaussian_taps(WINDOW, SIGMA),
        {"file": path.name, "sha256": digest, "source": source},
    )


def _find() -> Path | None:
    if named := os.environ.get(VARIABLE):
        return Path(named)
    package = importlib.util.find_spec("basicsr")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (path := Path(folder) / "metrics" / "niqe_pris_params.npz").is_file():
            return path
    return None


def _read(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        if path.suffix.lower() == ".mat":
            return dict(loadmat(path))
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, TypeError, EOFError, NotImplementedError, MatReadError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"'{path}' is neither an .npz nor a .mat file that can be read.", hint=HINT) from error


def _taps(window: Values, path: Path) -> tuple[float, ...]:
    """The taps that a window is the outer product of."""
    if window.shape == (WINDOW, WINDOW) and window.sum() > 0:
        taps = window.sum(axis=1) / math.sqrt(window.sum())
        if np.allclose(np.outer(taps, taps), window, rtol=0, atol=1e-12):
            return tuple(taps.tolist())
    raise InvalidInput(f"The gaussian_window of '{path}' is not a separable window of {WINDOW}x{WINDOW}.")


def fit_parameters(pictures: Sequence[Path]) -> tuple[NiqeParameters, dict[str, Any]]:
    """Pristine parameters of photos: of each the blocks at least 0.75 times as sharp as its sharpest (Mittal et al.).

    Returns them, and {"pictures", "blocks", "excluded": [{"name", "reason"}]}. InvalidInput when there are too few
    blocks for a covariance of 36 features.
    """
    from goldeye.batch import track
    from goldeye.images import read_image

    taps = gaussian_taps(WINDOW, SIGMA)
    collected: list[Values] = []
    excluded: list[dict[str, str]] = []
    for path in track(pictures, "niqe fit"):
        try:
            features, sharpness = block_features(_plane(read_image(path), 0), taps)
        except GoldeyeError as error:
            excluded.append({"name": str(path), "reason": error.message})
            continue
        usable = (sharpness >= SHARPEST * sharpness.max()) & ~np.isnan(features).any(axis=1)
        collected.append(features[usable])
    found = np.concatenate(collected) if collected else np.empty((0, FEATURES))
    if len(found) <= FEATURES:
        raise InvalidInput(
            f"The pictures give {len(found)} sharp blocks of {BLOCK}x{BLOCK} pixels; {FEATURES + 1} are the least.",
            hint="The published model was fitted on 125 photographs.",
        )
    source = f"fitted by goldeye niqe fit on {len(found)} sharp blocks of {len(collected)} pictures"
    counts = {"pictures": len(collected), "blocks": len(found), "excluded": excluded}
    return NiqeParameters(found.mean(axis=0), np.cov(found, rowvar=False), taps, {"source": source}), counts


def write_parameters(path: Path, parameters: NiqeParameters) -> None:
    """Write an .npz that this, BasicSR and others read: the same parameters give the same bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            mu_pris_param=parameters.mean[np.newaxis],
            cov_pris_param=parameters.covariance,
            gaussian_window=np.outer(parameters.taps, parameters.taps),
            source=np.array(parameters.source["source"]),
        )


def fit_folder(folder: Path, output: Path) -> dict[str, Any]:
    """`goldeye niqe fit`: fit on the pictures of a folder and write the parameters; what was done, for JSON."""
    from goldeye.images import find_images

    if output.suffix.lower() != ".npz":
        raise InvalidInput(f"NIQE parameters are written as .npz, not '{output.name}'.")
    parameters, counts = fit_parameters(find_images(folder))
    write_parameters(output, parameters)
    return {"output": str(output), "sha256": sha256(output), "source": parameters.source["source"], **counts}


def fit_text(made: dict[str, Any]) -> str:
    """What `fit_folder` did, for people."""
    lines = [f"{made['output']}: {made['source']} (sha256 {made['sha256']})"]
    return "\n".join(lines + [f"left out: {entry['name']}: {entry['reason']}" for entry in made["excluded"]])
