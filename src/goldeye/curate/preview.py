"""The page of `goldeye select --preview`: chosen and rejected windows on the photos, thresholds in the histograms.

One self-contained HTML file. Every photo counts in the figures and the histograms, but for near-duplicates, which are
left out; `SHOWN_PHOTOS` of all are drawn.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from goldeye import __version__
from goldeye.curate.thresholds import FILTERS, filter_scores
from goldeye.errors import ImageError
from goldeye.files import write_text
from goldeye.images import encode_jpeg, read_image

if TYPE_CHECKING:
    from goldeye.curate.scores import WindowScores
    from goldeye.curate.select import SelectSettings

SHOWN_PHOTOS = 60
SHOWN_WINDOWS = 10_000  # of a photo: where there are more, every second, third, … row and column is drawn
LISTED = 200  # names of photos in one list
THUMBNAIL = 900  # longest side in pixels

OUTCOMES = ("chosen", "passed", *FILTERS)
"""What became of a window: of the filters, the first that it fails."""

_CHOSEN = 8  # bit of a window in `_flags`; 1, 2 and 4 are the filters that it fails


@dataclass(frozen=True)
class PreviewPhoto:
    """A photo with the scores of its windows and those that were chosen, as (row, column) of the grid."""

    name: str
    picture: Path
    """The original."""
    height: int
    width: int
    scores: WindowScores
    chosen: list[tuple[int, int]]
    duplicate_of: str | None
    """The photo that it is a near-duplicate of, and left out for."""


@dataclass
class Histogram:
    """Counts of scores between edges that do not depend on them, one of the edges being the threshold.

    Bars are 2 wide, or on a logarithmic scale eight an octave from an eighth of a level; the first and the last one
    also hold what lies beyond. `all` and `chosen` are (bars,) counts.
    """

    threshold: float
    logarithmic: bool
    edges: NDArray[np.float32] = field(init=False)  # the scores' type, so that a score at the threshold is not below
    all: NDArray[np.int64] = field(init=False)
    chosen: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        if self.logarithmic:  # no score is above 255² / 4, the largest variance of 8 bits
            anchor = max(self.threshold, 2.0**-20) if self.threshold else 1.0
            first, last = (math.log2(end / anchor) * 8 for end in (min(1 / 8, anchor / 2), max(255**2 / 4, anchor * 2)))
            edges: NDArray[Any] = anchor * 2.0 ** (np.arange(math.floor(first), math.ceil(last) + 1) / 8)
        else:
            lower = math.ceil(self.threshold / 2)
            edges = np.maximum(self.threshold + 2 * np.arange(-lower, max(65 - lower, 2)), 0)
        self.edges = edges.astype(np.float32)
        self.all = np.zeros(len(edges) - 1, np.int64)
        self.chosen = np.zeros(len(edges) - 1, np.int64)

    def add(self, scores: NDArray[np.float32], chosen: NDArray[np.bool_]) -> None:
        """Count a photo's scores, both arrays (rows, columns) of its grid."""
        bars = np.searchsorted(self.edges[1:-1], scores.astype(np.float32, copy=False).ravel(), side="right")
        self.all += np.bincount(bars, minlength=len(self.all))
        self.chosen += np.bincount(bars[chosen.ravel()], minlength=len(self.chosen))


def write_preview(
    path: Path,
    photos: Iterable[PreviewPhoto],
    *,
    thresholds: Mapping[str, float],
    settings: SelectSettings,
    summary: Mapping[str, Any],
) -> None:
    """Write the page. `photos` is gone through once, holding one at a time; those that are drawn stay as thumbnails.

    `thresholds` are the numbers in force (min_std, min_high_frequency, min_difference). `summary` is what select
    reports; with its "photos_total" the photos drawn are spread over all of them, else they are the first ones.
    A photo that cannot be read is drawn without its picture.
    """
    total = summary.get("photos_total")
    counts, photo_counts = Counter[str](), Counter[str]()
    # Spread of grey is even enough; the other two have long tails.
    histograms = {key: Histogram(thresholds[key], logarithmic=key != "min_std") for key in FILTERS.values()}
    versions: dict[str, Histogram] = {}
    fruitless: list[tuple[str, str]] = []
    shown: list[dict[str, Any]] = []

    for number, photo in enumerate(photos):
        flags = _flags(photo, thresholds)
        counted = count_outcomes(flags)
        why = "" if photo.chosen else _why_none(photo, counted, thresholds)
        photo_counts.update(["all", "chosen" if photo.chosen else "fruitless"])
        if why and len(fruitless) < LISTED:
            fruitless.append((photo.name, why))
        if photo.duplicate_of is None:
            counts.update(counted)
            for key, scores in filter_scores(photo.scores).items():
                histograms[key].add(scores, flags >= _CHOSEN)
            for slot, scores in photo.scores.difference.items():
                versions.setdefault(slot, Histogram(thresholds["min_difference"], logarithmic=True))
                versions[slot].add(scores, flags >= _CHOSEN)
        else:
            photo_counts["duplicates"] += 1
        if len(shown) < SHOWN_PHOTOS and (not total or number * SHOWN_PHOTOS % total < SHOWN_PHOTOS):
            shown.append(_drawn(photo, flags, counted, why, settings.patch_size))

    source = resources.files("goldeye.curate").joinpath("preview.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": lambda value: f"{value:,}", "share": _share, "score": _score}
    page = environment.from_string(source).render(
        version=__version__,
        outcomes=OUTCOMES,
        counts={outcome: counts[outcome] for outcome in OUTCOMES},
        windows=counts.total(),
        photos=photo_counts,
        photos_total=total,
        fruitless=fruitless,
        shown=shown,
        histograms={key: chart(histogram, 360, 200) for key, histogram in histograms.items()},
        versions={
            slot: chart(histogram, 270, 130, beside=list(versions.values()))
            for slot, histogram in sorted(versions.items())
        },
        enhancers=dict(summary.get("enhancers") or {}),
        thresholds=thresholds,
        asked={key: _asked(settings, key, thresholds[key]) for key in FILTERS.values()},
        passed_over={reason: len(summary.get(reason) or ()) for reason in ("too_small", "failed")},
        settings=settings,
        settings_rows=_described(settings),
        patch_size=settings.patch_size,
    )
    # A file name that is no UTF-8 must not cost the page.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def count_outcomes(flags: NDArray[np.uint8]) -> dict[str, int]:
    """{outcome: number of windows} of a photo's flags."""
    failing = flags < _CHOSEN
    return {
        "chosen": int((~failing).sum()),
        "passed": int((flags == 0).sum()),
        "texture": int((failing & (flags & 1 > 0)).sum()),
        "high_frequency": int((failing & (flags & 3 == 2)).sum()),
        "difference": int((failing & (flags & 7 == 4)).sum()),
    }


def _flags(photo: PreviewPhoto, thresholds: Mapping[str, float]) -> NDArray[np.uint8]:
    """(rows, columns): the sum of 1, 2, 4 for each filter that a window fails, and of 8 where it is chosen."""
    flags = np.zeros(photo.scores.std.shape, np.uint8)
    for number, (key, scores) in enumerate(filter_scores(photo.scores).items()):
        flags += np.uint8(1 << number) * ~(scores >= thresholds[key])
    for window in photo.chosen:
        flags[window] += _CHOSEN
    return flags


def _why_none(photo: PreviewPhoto, counted: Mapping[str, int], thresholds: Mapping[str, float]) -> str:
    """Why nothing was chosen from a photo: a clause without capital letter and full stop."""
    if photo.duplicate_of is not None:
        return f"left out as a near-duplicate of {photo.duplicate_of}"
    if not photo.scores.std.size:
        return "no window fits into it"
    if counted["passed"]:
        return f"{counted['passed']:,} windows pass, none of them was drawn"
    short = [
        f"{key.removeprefix('min_').replace('_', ' ')} reaches {_score(best)} of {_score(thresholds[key])}"
        for key, scores in filter_scores(photo.scores).items()
        if (best := float(scores.max())) < thresholds[key]
    ]
    # Each threshold may be reached somewhere, but never all of them in one window.
    return f"no window passes ({', '.join(short)})" if short else "no window passes all three filters"


def _drawn(
    photo: PreviewPhoto, flags: NDArray[np.uint8], counted: dict[str, int], why: str, patch_size: int
) -> dict[str, Any]:
    """What the template needs of a photo: its thumbnail, and the windows as the page's script reads them."""
    scores, step = photo.scores, 1
    while math.prod(len(range(0, side, step)) for side in flags.shape) > SHOWN_WINDOWS:
        step += 1
    # The windows that are drawn: those of the thinned grid, then chosen ones beside it.
    more = [(row, column) for row, column in photo.chosen if row % step or column % step]
    on_grid = np.indices(flags.shape)[:, ::step, ::step].reshape(2, -1)
    at = tuple(np.hstack([on_grid, np.array(more, np.int64).reshape(-1, 2).T]))
    picture, problem = None, None
    try:
        picture = _thumbnail(photo.picture)
    except ImageError as error:
        problem = error.message
    return {
        "name": photo.name,
        "height": photo.height,
        "width": photo.width,
        "counts": counted,
        "why": why,
        "step": step,
        "picture": picture,
        "problem": problem,
        "chosen": [(int(scores.ys[row]), int(scores.xs[column])) for row, column in sorted(photo.chosen)],
        "windows": {
            "size": patch_size,
            "ys": scores.ys[::step].tolist(),
            "xs": scores.xs[::step].tolist(),
            "more": [(int(scores.ys[row]), int(scores.xs[column])) for row, column in more],
            "flags": "".join(f"{flag:x}" for flag in flags[at].tolist()),
            "scores": [_packed(plane[at]) for plane in (scores.std, scores.high_frequency)],
            "differences": {slot: _packed(plane[at]) for slot, plane in scores.difference.items()},
        },
    }


def _packed(scores: NDArray[np.float32]) -> tuple[float, str]:
    """(step, base64 of little-endian uint16): score = step x integer, rounded down as thresholds are from below."""
    top = float(scores.max(initial=0))
    step = next(step for step in (0.01, 0.1, 1.0) if top / step < 2**16)
    integers = np.floor(scores.astype(np.float64) / step + 1e-6).astype("<u2")
    return step, base64.b64encode(integers.tobytes()).decode()


def _thumbnail(path: Path) -> str:
    """A data URL of the picture as JPEG."""
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(read_image(path), THUMBNAIL)).decode()}"


def chart(histogram: Histogram, width: float, height: float, *, beside: Sequence[Histogram] = ()) -> dict[str, Any]:
    """A histogram as shapes of an SVG `width` x `height`: bars, the chosen windows' outline, ticks and the threshold.

    The axis is that of all windows; the outline is as high as its own highest bar lets it be. Bars that are empty at
    either end are left out, but not those that others `beside` it fill.
    """
    filled = np.flatnonzero(sum((other.all for other in beside), histogram.all))
    at = int(np.searchsorted(histogram.edges, np.float32(histogram.threshold)))  # the edge that is the threshold
    first = min(int(filled[0]) if len(filled) else at, max(at - 2, 0))
    last = max(int(filled[-1]) + 1 if len(filled) else at, min(at + 2, len(histogram.edges) - 1))
    edges, windows, chosen = histogram.edges[first : last + 1], histogram.all[first:last], histogram.chosen[first:last]
    total, below = int(histogram.all.sum()), int(histogram.all[:at].sum())
    shares, heights = windows / max(total, 1), chosen / max(int(chosen.max()), 1)
    highest = max(float(shares.max()), 0.01)
    left, right, top, bottom = 34.0, width - 8, 20.0, height - 20

    def scale(value: float) -> float:
        return math.log2(value) if histogram.logarithmic else value

    low, high = scale(float(edges[0])), scale(float(edges[-1]))

    def x(value: float) -> float:
        return round(left + (scale(value) - low) / (high - low) * (right - left), 2)

    def y(share: float) -> float:
        return round(bottom - share / highest * (bottom - top), 2)

    for candidates in _ticks(histogram.logarithmic):
        ticks = [(x(tick), _score(tick)) for tick in candidates if edges[0] <= tick <= edges[-1]]
        if all(after - place >= 4 * len(words + next_) + 6 for (place, words), (after, next_) in pairwise(ticks)):
            break
    places = [x(float(edge)) for edge in edges]
    outline = [f"M{places[0]} {bottom}"]
    for following, share in zip(places[1:], heights * highest, strict=True):
        outline.append(f"V{y(float(share))}H{following}")
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "bars": [
            {
                "x": places[bar],
                "width": round(places[bar + 1] - places[bar], 2),
                "y": y(float(share)),
                "below": first + bar < at,
                "words": f"{_ends(histogram, first + bar)}: {windows[bar]:,} windows ({_share(windows[bar], total)}),"
                f" {chosen[bar]:,} chosen",
            }
            for bar, share in enumerate(shares)
            if windows[bar]
        ],
        "chosen": "".join(outline) + f"V{bottom}" if chosen.any() else "",
        "threshold": {"x": x(float(edges[at - first])), "value": histogram.threshold},
        "ticks": ticks,
        "grid": [(y(share), f"{100 * share:g} %") for share in _grid(highest)],
        "below": below,
        "reaching": total - below,
        "total": total,
    }


def _ends(histogram: Histogram, bar: int) -> str:
    """`30 to 32`."""
    low, high = (_score(float(edge)) for edge in histogram.edges[bar : bar + 2])
    if bar == 0:
        return f"below {high}"
    return f"{low} or more" if bar == len(histogram.all) - 1 else f"{low} to {high}"


def _ticks(logarithmic: bool) -> Iterator[list[float]]:
    """Round numbers for an axis, fewer and fewer."""
    if logarithmic:
        for digits in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            yield [digit * 10.0**power for power in range(-4, 7) for digit in digits]
    else:
        for step in (10.0, 20.0, 50.0, 100.0):
            yield [step * k for k in range(100)]


def _grid(highest: float) -> list[float]:
    """Two to five round shares up to the highest one."""
    step = next(s for s in (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if highest / s < 5)
    return [step * k for k in range(1, int(highest / step + 1e-9) + 1)]


def _described(settings: SelectSettings) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of each setting."""
    rows = []
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        words = ", ".join(map(str, value)) if isinstance(value, tuple | list) else "–" if value is None else str(value)
        rows.append((name, words or "–", info.description or ""))
    return rows


def _asked(settings: SelectSettings, key: str, threshold: float) -> str:
    """The quantile or number that was asked for, where the threshold is another number now."""
    asked = getattr(settings, key)
    return "" if asked == threshold else asked if isinstance(asked, str) else _score(asked)


def _share(part: int, whole: int) -> str:
    """`3.2 %`, with more digits where it would be 0."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if percent >= 0.1 or not part else f"{percent:.2g} %"


def _score(value: float) -> str:
    """Four digits at most, unless there are more before the point: `2`, `2.357`, `12,345`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
