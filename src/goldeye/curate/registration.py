"""Whether two pictures of one scene lie on each other: the shift between them.

Phase correlation (Kuglin and Hines 1975) proposes places, the correlation coefficient of the pictures' details at each
place decides. Both see details alone, so exposure, colour and tone may differ; details finer than noise are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from goldeye.images import Picture, luma_bt601, to_float

Floats = npt.NDArray[np.float64]

WINDOW = 256
"""Pixels a side: larger pictures are measured in windows of about this size, so that a turned one shows."""
_FINE, _COARSE = 1.5, 6.0  # sigmas in pixels between which details lie
_PEAK = 2.0  # sigma in pixels that the peak of the phase correlation gets
_PLACES = 5
# Overlap of the two pictures at any place, as a share of each side.
_OVERLAP = 2 / 3
# A smaller shift is preferred when what it leaves unexplained is at most so many times what the best one leaves: along
# a straight edge and from stripe to stripe every place fits as well as the others.
_AS_GOOD = 1.2
# A coefficient is believed from so many standard deviations of chance. Neighbouring pixels of the details go together:
# about `_PATCH` of them tell as much as one alone.
_SIGNIFICANT, _PATCH, _LEAST_SIMILARITY = 6.0, 40, 0.3
_DETAIL = 3.0  # standard deviation of the details in grey levels: what can be measured at all has more


@dataclass(frozen=True)
class Registration:
    """How the second of two pictures lies on the first.

    `verdict` is "measured"; "different" when both have details and nothing of them agrees at any place; "flat" when
    there is too little detail to say. `shift` (y, x) in pixels says how far the second lies below and to the right of
    the first, `similarity` the correlation coefficient of the details there, -1..1; both rounded, None unless measured.
    """

    verdict: Literal["measured", "different", "flat"]
    shift: tuple[float, float] | None = None
    similarity: float | None = None

    @property
    def distance(self) -> float:
        """Length of the shift in pixels; 0 where none was measured."""
        return 0.0 if self.shift is None else math.hypot(*self.shift)


def register(first: Picture, second: Picture) -> Registration:
    """The shift between two pictures (H, W, 3) of equal size.

    Pictures larger than `WINDOW` are measured window by window, and the window with the largest shift speaks for the
    whole. Shifts of up to a third of a side are found.
    """
    if first.shape != second.shape:
        raise ValueError(f"pictures of equal size expected, not {first.shape} and {second.shape}")
    details = [_details(luma_bt601(to_float(picture))) for picture in (first, second)]
    found = [_register_window(details[0][area], details[1][area]) for area in _windows(*first.shape[:2])]
    measured = [each for each in found if each.verdict == "measured"]
    if measured:
        return max(measured, key=lambda each: each.distance)
    return next((each for each in found if each.verdict == "different"), found[0])


def _windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = (
        np.linspace(0, side, max(1, round(side / WINDOW)) + 1).round().astype(int).tolist() for side in (height, width)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _details(luma: Floats) -> Floats:
    """(H, W) without what is finer than `_FINE` and coarser than `_COARSE`."""
    fine: Floats = ndimage.gaussian_filter(luma, _FINE) - ndimage.gaussian_filter(luma, _COARSE)
    return fine


def _register_window(first: Floats, second: Floats) -> Registration:
    """`register` for the details of one window of each picture."""
    surface = _phase_correlation(first, second)
    places = {(0, 0), *_peaks(surface)}
    fits = {place: _similarity(first, second, place) for place in places}
    best = max(fits.values())
    needed = max(_LEAST_SIMILARITY, _SIGNIFICANT / math.sqrt(first.size / _PATCH))
    if best < needed:
        detailed = min(first.std(), second.std()) >= _DETAIL
        return Registration("different" if detailed and needed < 1 else "flat")
    as_good = [place for place, fit in fits.items() if 1 - fit <= _AS_GOOD * (1 - best)]
    place = min(as_good, key=lambda place: math.hypot(*place))
    aligned = _phase_correlation(*_overlapping(first, second, place))
    y, x = (whole + rest for whole, rest in zip(place, _near_zero(aligned), strict=True))
    return Registration("measured", (round(y, 2) + 0.0, round(x, 2) + 0.0), round(fits[place], 3))


def _phase_correlation(first: Floats, second: Floats) -> Floats:
    """(H, W): how well `second` fits when moved by each (y, x), negative ones counted from the end.

    The spectra's amplitudes are taken out and a Gaussian put in their place: of it the peak has its shape.
    """
    height, width = first.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    cross = fft.rfft2(second * window) * np.conj(fft.rfft2(first * window))
    size = np.abs(cross)
    cross /= size + 1e-9 * max(float(size.max()), 1e-30)
    y, x = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None]
    surface: Floats = fft.irfft2(cross * np.exp(-2 * (math.pi * _PEAK) ** 2 * (y**2 + x**2)), s=first.shape)
    return surface


def _peaks(surface: Floats) -> list[tuple[int, int]]:
    """The highest local maxima (y, x) at which the pictures overlap enough."""
    y, x = np.nonzero(ndimage.maximum_filter(surface, 3, mode="wrap") == surface)
    order = np.argsort(-surface[y, x], kind="stable")
    height, width = surface.shape
    y, x = (np.where(at > side // 2, at - side, at)[order] for at, side in ((y, height), (x, width)))
    near = (np.abs(y) <= (1 - _OVERLAP) * height) & (np.abs(x) <= (1 - _OVERLAP) * width)
    return list(zip(y[near][:_PLACES].tolist(), x[near][:_PLACES].tolist(), strict=True))


def _overlapping(first: Floats, second: Floats, place: tuple[int, int]) -> tuple[Floats, Floats]:
    """What both show when `second` lies `place` (y, x) below and to the right of `first`."""
    (height, width), (y, x) = first.shape, place
    return (
        first[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)],
        second[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)],
    )


def _similarity(first: Floats, second: Floats, place: tuple[int, int]) -> float:
    """Correlation coefficient of the overlap, 0 where one of them is constant."""
    a, b = (part - part.mean() for part in _overlapping(first, second, place))
    energy = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / energy if energy > 1e-6 * a.size else 0.0


def _near_zero(surface: Floats) -> tuple[float, float]:
    """Where the peak at (0, 0) or beside it lies, between pixels: a Gaussian through three values an axis."""
    height, width = surface.shape
    around = surface[np.ix_(np.arange(-2, 3) % height, np.arange(-2, 3) % width)]
    y, x = (int(at) for at in np.unravel_index(around[1:-1, 1:-1].argmax(), (3, 3)))
    return y - 1 + _vertex(around[y : y + 3, x + 1]), x - 1 + _vertex(around[y + 1, x : x + 3])


def _vertex(values: Floats) -> float:
    """Of a Gaussian through three values at -1, 0, 1, within half a step of 0."""
    before, at, after = np.log(np.maximum(values, 1e-12))
    bend = before - 2 * at + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
