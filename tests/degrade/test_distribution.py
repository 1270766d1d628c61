"""The fast degradation has the distribution of the plain one (benchmarks/plain_degradation.py), and the test sees it
when a parameter of a preset is off by 20 %.

Sample n of both sides starts from the same GT crop, so differences of their statistics are free of the crop's own
variance. All limits are in standard errors of such differences (z): several hundred statistics are looked at for each
preset, so |z| > 5 happens by chance in about one of 5,000 runs, and the seeds are fixed.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from goldeye.degrade import Pipeline, degrade_picture, get_pipeline
from goldeye.degrade.steps import Sample
from goldeye.images import FloatPicture, matlab_resize

Array = npt.NDArray[np.floating]

PRESETS = [
    "hggt",
    "hggt-enhance-noise",
    "hggt-enhance-blur",
    "hggt-two-stage",
    "real-esrgan",
    "bsrgan",
    "hggt-bsrgan",
    "generic",
]
CROPS = 2000
LIMIT = 5.0
SIDE = 128  # of a GT crop
PHOTOS, PROBES = 200, 50  # different GT crops


def _load_plain() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "plain_degradation.py"
    spec = importlib.util.spec_from_file_location("plain_degradation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_degradation"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


plain = _load_plain()

# GT crops --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def gt_crops() -> list[FloatPicture]:
    """Crops of photos, and probes: flat colours, in half of them an edge, that show noise and blur without content."""
    from skimage import data

    rng = np.random.default_rng(1)
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    crops = []
    for number in range(PHOTOS):
        photo = photos[number % len(photos)]
        y, x = (rng.integers(side - SIDE) for side in photo.shape[:2])
        crops.append(photo[y : y + SIDE, x : x + SIDE])
    for number in range(PROBES):
        crop = np.empty((SIDE, SIDE, 3), np.uint8)
        crop[:] = rng.integers(40, 216, 3)
        if number % 2:
            angle = rng.uniform(0, np.pi)
            y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
            crop[np.cos(angle) * x + np.sin(angle) * y > 0] = rng.integers(40, 216, 3)
        crops.append(crop)
    return [crop.astype(np.float32) / np.float32(255) for crop in crops]


def gt_number(sample: int) -> int:
    """Each fifth sample is a probe."""
    return PHOTOS + sample // 5 % PROBES if sample % 5 == 4 else (sample // 5 * 4 + sample % 5) % PHOTOS


def gt_of(name: str, sample: int) -> FloatPicture:
    """Half the side for presets that keep the size, so that all give LR crops of about the same cost."""
    crop = gt_crops()[gt_number(sample)]
    return np.ascontiguousarray(crop[32:96, 32:96]) if name.startswith("hggt-enhance") else crop


# Statistics of LR crops ------------------------------------------------------------------------------------------


def statistics_of(lr: Array, reference: Array) -> Array:
    """(h, w, 3) and the bicubic LR of the same GT to a line of numbers, most of them of the residual."""
    opponent = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0, -0.5], [-0.25, 0.5, -0.25]]).T
    residual, picture = (lr - reference) @ opponent, reference @ opponent
    h, w = lr.shape[:2]
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w))
    band = np.minimum((radius * 12).astype(int), 6)
    spectrum, known = np.fft.rfft2(residual, axes=(0, 1)), np.fft.rfft2(picture, axes=(0, 1))
    power = np.abs(spectrum) ** 2 / (h * w)
    shared, own = (spectrum * known.conj()).real, np.abs(known) ** 2

    values = [*residual.mean((0, 1)), *np.log(residual.var((0, 1)) + 1e-8), math.log(lr.var() + 1e-8)]
    for channel in (0, 1, 2):
        values += list(np.log(np.bincount(band.ravel(), power[..., channel].ravel(), 7)[1:] + 1e-8))
    # How much of each band of the clean LR is kept or lost: blur without noise.
    kept = np.bincount(band.ravel(), shared[..., 0].ravel(), 7) / (
        np.bincount(band.ravel(), own[..., 0].ravel(), 7) + 1e-2
    )
    colour = shared[..., 1:].sum() / (own[..., 1:].sum() + 1e-2)
    values += [*np.tanh(kept[1:]), math.tanh(colour)]
    # Noise: the residual's finest differences, against brightness, in tails, between channels, along both axes.
    rgb = lr - reference
    fine = rgb[1:, 1:] - rgb[:-1, 1:] - rgb[1:, :-1] + rgb[:-1, :-1]
    flat = np.abs(fine).reshape(-1, 3)
    spread = flat.std(0) + 1e-4
    bright = reference[1:, 1:].reshape(-1, 3)
    values += [float(np.mean((flat - flat.mean(0)) * (bright - bright.mean(0)) / spread / (bright.std(0) + 1e-2)))]
    values += [math.log(np.median(flat) + 2e-3), math.log(flat.mean() + 1e-4), math.log(np.quantile(flat, 0.98) + 1e-3)]
    normal = fine.reshape(-1, 3) / (fine.reshape(-1, 3).std(0) + 1e-4)
    values += [float(np.mean(normal**4)) ** 0.25]
    values += [float(np.mean(normal[:, a] * normal[:, b])) for a, b in ((0, 1), (0, 2))]
    horizontal, vertical = np.abs(np.diff(rgb, axis=1)), np.abs(np.diff(rgb, axis=0))
    values += [abs(math.log((horizontal.mean() + 1e-3) / (vertical.mean() + 1e-3)))]
    # Neighbours: correlated noise was made before a resize or blur.
    centred = rgb - rgb.mean((0, 1))
    variance = (centred**2).mean() + 1e-6
    values += [float((centred[:, k:] * centred[:, :-k]).mean() / variance) for k in (1, 2)]
    # Block artifacts: jumps across the 8-pixel grid against jumps elsewhere, in luma.
    luma = lr @ opponent[:, 0]
    jumps = np.abs(np.diff(luma, axis=1)).mean(0), np.abs(np.diff(luma, axis=0)).mean(1)
    grid = [np.arange(len(line)) % 8 == 7 for line in jumps]
    on, off = (np.mean([line[g == side].mean() for line, g in zip(jumps, grid, strict=True)]) for side in (True, False))
    values += [math.log((on + 1e-3) / (off + 1e-3))]
    # Coefficients of the 8x8 DCT at the output's own grid: exact zeros are the quantisation's.
    blocks = (luma * 255)[: h // 8 * 8, : w // 8 * 8].reshape(h // 8, 8, w // 8, 8).transpose(0, 2, 1, 3)
    coefficients = np.abs(_DCT @ blocks @ _DCT.T).reshape(-1, 64)
    values += [float((coefficients[:, _MIDDLE] < limit).mean()) for limit in (1, 3)]
    values += [float((coefficients[:, _FINE] < limit).mean()) for limit in (1, 3)]
    return np.array(values)


_LINE = np.arange(8)
_DCT = np.cos((2 * _LINE + 1) * _LINE[:, None] * np.pi / 16) * np.where(_LINE == 0, np.sqrt(0.5), 1)[:, None] / 2
_ORDER = (_LINE[:, None] + _LINE).ravel()
_MIDDLE, _FINE = (_ORDER >= 3) & (_ORDER < 7), _ORDER >= 8

NAMES = [
    *(f"mean {c}" for c in "YAB"),
    *(f"variance {c}" for c in "YAB"),
    "variance LR",
    *(f"spectrum {c}{band}" for c in "YAB" for band in range(1, 7)),
    *(f"kept Y{band}" for band in range(1, 7)),
    "kept colour",
    "noise by brightness",
    "noise median",
    "noise mean",
    "noise peaks",
    "noise tails",
    "channels RG",
    "channels RB",
    "direction",
    "neighbour 1",
    "neighbour 2",
    "blocks",
    *(f"DCT {kind} < {limit}" for kind in ("middle", "fine") for limit in (1, 3)),
]


def measure(work: tuple[str, Pipeline | None, int, range]) -> Array:
    """Statistics of the samples of one side: (name, pipeline or None for the plain form, seed, numbers)."""
    name, pipeline, seed, numbers = work
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines = []
    for number in numbers:
        gt, rng = gt_of(name, number), np.random.default_rng([seed, number])
        if pipeline is None:
            torch.manual_seed(int(rng.integers(2**62)))
            lr = plain.degrade_one(name, gt, rng)
        else:
            lr = degrade_picture(gt, pipeline, rng)[0]
        lines.append(statistics_of(lr, _reference(name, gt_number(number))))
    return np.array(lines)


@lru_cache(maxsize=2 * (PHOTOS + PROBES))
def _reference(name: str, number: int) -> FloatPicture:
    crop = gt_crops()[number]
    return crop[32:96, 32:96] if name.startswith("hggt-enhance") else matlab_resize(crop, SIDE // 4, SIDE // 4)


# Comparison ------------------------------------------------------------------------------------------------------


def compare(ours: Array, others: Array) -> dict[str, float]:
    """|z| by statistic: the paired mean, the paired square, the ends of the pooled values, Kolmogorov-Smirnov; the same
    for photos and probes on their own; and Hotelling's T² of all of these differences together."""
    probes = np.arange(len(ours)) % 5 == 4
    found: dict[str, float] = {}
    for part, chosen in {"photos": ~probes, "probes": probes}.items():
        a, b = ours[chosen], others[chosen]
        both = np.concatenate([a, b])
        centre, spread = both.mean(0), both.std(0) + 1e-12
        low, high = np.quantile(both, [0.03, 0.97], axis=0)
        views = {
            "mean": [(x - centre) / spread for x in (a, b)],
            "square": [np.minimum(((x - centre) / spread) ** 2, 9) for x in (a, b)],
            "low end": [(x < low).astype(float) for x in (a, b)],
            "high end": [(x > high).astype(float) for x in (a, b)],
        }
        differences = {view: x - y for view, (x, y) in views.items()}
        for view, d in differences.items():
            z = d.mean(0) / (d.std(0) + 1e-12) * math.sqrt(len(d))
            # A count of ends follows a normal law only when it is not small.
            busy = np.abs(d).sum(0) >= (20 if "end" in view else 0)
            found |= {f"{part}: {n}, {view}": abs(v) for n, v, ok in zip(NAMES, z, busy, strict=True) if ok}
        for index, n in enumerate(NAMES):
            p = stats.ks_2samp(a[:, index], b[:, index], method="asymp").pvalue
            found[f"{part}: {n}, KS"] = float(stats.norm.isf(max(p, 1e-300) / 2))
        found[f"{part}: all, T²"] = hotelling(differences["mean"])
        if len(a) > 600:
            found[f"{part}: all with squares, T²"] = hotelling(np.hstack([differences["mean"], differences["square"]]))
    return found


def hotelling(differences: Array) -> float:
    """The z of T² = n·dᵀS⁻¹d through the F distribution (by Wilson and Hilferty's normal form of it)."""
    n, p = differences.shape
    values, axes = np.linalg.eigh(np.cov(differences.T))
    keep = values > values[-1] * 1e-6
    p = int(keep.sum())
    if n <= 2 * p:
        return 0.0
    d = differences.mean(0) @ axes[:, keep]
    f = n * float(np.sum(d**2 / values[keep])) * (n - p) / (p * (n - 1))
    x, v, w = f ** (1 / 3), 2 / (9 * p), 2 / (9 * (n - p))
    return max(0.0, (x * (1 - w) - (1 - v)) / math.sqrt(v + w * x * x))


def strongest(found: dict[str, float]) -> tuple[str, float]:
    """The statistic that differs most."""
    return max(found.items(), key=lambda item: item[1])


# The tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_the_distribution_is_that_of_the_plain_form(name: str) -> None:
    numbers = range(100)
    ours, others = (measure((name, p, seed, numbers)) for p, seed in ((get_pipeline(name), 7), (None, 8)))
    statistic, z = strongest(compare(ours, others))
    assert z < LIMIT, f"{statistic}: z = {z:.1f}"


def test_the_comparison_sees_a_difference() -> None:
    """Two seeds of one pipeline agree; a pipeline with more noise does not."""
    pipeline = get_pipeline("hggt")
    mutated = dict(mutations(pipeline))["noise sigma[1]"]
    same, other, stronger = (
        measure(("hggt", p, s, range(150))) for p, s in ((pipeline, 1), (pipeline, 2), (mutated, 2))
    )
    assert strongest(compare(same, other))[1] < LIMIT
    assert strongest(compare(np.tile(same, (4, 1)), np.tile(stronger, (4, 1))))[1] > LIMIT


# Slow: 2,000 crops, and every parameter off by 20 % ---------------------------------------------------------------


def mutations(pipeline: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    """Each parameter that the preset sets, larger by 20 % (smaller where that is not allowed), one at a time.

    Integers move by at least 1; a probability of kinds takes the others down in proportion; a quality stops at 100.
    """
    for step, number in different_steps(pipeline):
        title = step.step if number == 0 else f"{step.step} {number + 1}"
        for field, change in _changed_fields(step):
            mutated = type(step).model_validate(step.model_dump() | change)
            yield f"{title} {field}", _replaced(pipeline, step, mutated)


def different_steps(pipeline: Pipeline) -> list[tuple[Any, int]]:
    """The steps, those in groups too, each with its number among the different ones of its type."""
    seen: list[Any] = []
    numbered = []
    for step in (s for outer in pipeline.steps for group in getattr(outer, "groups", [(outer,)]) for s in group):
        if step not in seen:
            numbered.append((step, sum(s.step == step.step for s in seen)))
            seen.append(step)
    return numbered


def _replaced(pipeline: Pipeline, step: Any, mutated: Any) -> Pipeline:
    def new(one: Any) -> Any:
        if hasattr(one, "groups"):
            return one.model_copy(update={"groups": tuple(tuple(new(s) for s in group) for group in one.groups)})
        return mutated if one == step else one

    return pipeline.model_copy(update={"steps": tuple(new(one) for one in pipeline.steps)})


def _changed_fields(step: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    fields = set(step.model_fields_set)
    if any(kind.startswith(("generalized", "plateau")) for kind in getattr(step, "kinds", {})):
        fields |= {"generalized_beta", "plateau_beta"}
    for field in type(step).model_fields:
        value = getattr(step, field)
        if field not in fields or isinstance(value, str | bool) or value is None:
            continue
        if isinstance(value, dict):
            for kind, weight in value.items():
                if 0 < weight < 1:
                    rest = (1 - 1.2 * weight) / (1 - weight) if weight < 0.8 else (1 - 0.8 * weight) / (1 - weight)
                    new = {k: w * rest for k, w in value.items()} | {kind: weight * (1.2 if weight < 0.8 else 0.8)}
                    yield f"{field}[{kind}]", {field: new}
        elif isinstance(value, tuple) and all(isinstance(v, int | float) for v in value):
            for end in (0, 1):
                for candidate in _twenty_percent(value[end], field):
                    new_pair = tuple(candidate if i == end else v for i, v in enumerate(value))
                    if _allowed(step, {field: new_pair}):
                        yield f"{field}[{end}]", {field: new_pair}
                        break
        elif isinstance(value, float):
            for candidate in _twenty_percent(value, field):
                if _allowed(step, {field: candidate}):
                    yield field, {field: candidate}
                    break


def _twenty_percent(value: float, field: str) -> list[float]:
    if value == 0:
        return []
    if isinstance(value, int) and field in ("radius", "quality", "level"):
        candidates: list[float] = [max(value + 1, round(value * 1.2)), min(value - 1, round(value * 0.8))]
        return [*candidates, 100] if field == "quality" and value < 100 else candidates
    return [value * 1.2, value * 0.8]


def _allowed(step: Any, change: dict[str, Any]) -> bool:
    try:
        type(step).model_validate(step.model_dump() | change)
    except ValueError:
        return False
    return True


MUTATIONS = [(name, title) for name in PRESETS for title, _ in mutations(get_pipeline(name))]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Two processes, spawned: after a fork they would wait for threads that other tests' libraries left behind."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


PLAIN_SEED, OUR_SEED, MUTATED_SEED = 21, 22, 23
_PART = 250


def measure_all(
    pool: ProcessPoolExecutor, name: str, pipeline: Pipeline | None, seed: int, numbers: range = range(CROPS)
) -> Array:
    """`measure` in parts."""
    parts = [numbers[start : start + _PART] for start in range(0, len(numbers), _PART)]
    return np.concatenate(list(pool.map(measure, [(name, pipeline, seed, part) for part in parts])))


_plain_measured: dict[str, Array] = {}


def plain_measured(pool: ProcessPoolExecutor, name: str) -> Array:
    """The plain form's statistics, once for all tests."""
    if name not in _plain_measured:
        _plain_measured[name] = measure_all(pool, name, None, PLAIN_SEED)
    return _plain_measured[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_2000_crops_have_the_distribution_of_the_plain_form(name: str, pool: ProcessPoolExecutor) -> None:
    ours = measure_all(pool, name, get_pipeline(name), OUR_SEED)
    statistic, z = strongest(compare(ours, plain_measured(pool, name)))
    assert z < LIMIT, f"{statistic}: z = {z:.1f}"


def detect(pool: ProcessPoolExecutor, name: str, title: str, crops: int) -> tuple[str, float]:
    """The statistic of LR crops that tells a mutated preset from the plain form best, and its z."""
    mutated = measure_all(pool, name, dict(mutations(get_pipeline(name)))[title], MUTATED_SEED, range(crops))
    return strongest(compare(mutated, plain_measured(pool, name)[:crops]))


# Of the parameters that are 20 % off, those that 500 LR crops show (z > 6 when they were listed); the draws below show
# all of them.
SEEN_IN_CROPS = {
    "hggt": ["resize range[0]", "jpeg quality[0]", "jpeg quality[1]"],
    "hggt-enhance-blur": ["jpeg quality[1]"],
    "hggt-two-stage": ["jpeg 2 quality[0]", "jpeg 2 quality[1]"],
    "hggt-bsrgan": ["jpeg 2 quality[0]", "jpeg 2 quality[1]"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "title"), [(name, title) for name, titles in SEEN_IN_CROPS.items() for title in titles]
)
def test_a_parameter_off_by_20_percent_shows_in_lr_crops(name: str, title: str, pool: ProcessPoolExecutor) -> None:
    statistic, z = detect(pool, name, title, 500)
    assert z > LIMIT, f"strongest: {statistic}, z = {z:.1f}"


# The numbers that are drawn, against those of the plain form ------------------------------------------------------
#
# LR crops hide much of what was drawn (a blur of 0.1 px before a resize to a quarter). So each step also draws by
# itself, and every number it draws is held against the law that the plain form's constants state.

Law = tuple[str, tuple[float, ...]]  # "chance" (p,); "uniform" (low, high); "halves" (low, high); "one of" values
DRAWS = 100_000


def observed(step: Any, count: int, seed: int) -> dict[str, Array]:
    """What a step draws: how often each kind, and the values of each number of a kind."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for index in range(count):
        for drawn in step.draw(rng, Sample(scale=4)) or [{"step": "nothing"}]:
            kind = _kind(drawn)
            found.setdefault(kind, []).append(index)
            for key, value in drawn.items():
                if isinstance(value, int | float) and key != "seed":
                    found.setdefault(f"{kind} {key}", []).append(1 / value if kind == "middle_resize" else value)
    return {key: np.array(values, np.float64) for key, values in found.items()}


def _kind(drawn: dict[str, Any]) -> str:
    if drawn["step"] == "resize":
        return "same" if drawn["scale"] == 1 else "down" if drawn["scale"] < 1 else "up"
    kind = str(drawn.get("kernel") or drawn.get("kind") or drawn["step"])
    if kind in ("generalized", "plateau"):
        return f"{kind}_isotropic" if drawn["sigma_x"] == drawn["sigma_y"] else f"{kind}_anisotropic"
    if kind == "poisson_gaussian" and drawn["sigma"] == 0:
        return "peak"
    return kind


def _sizes(sizes: tuple[int, int]) -> Law:
    return "one of", tuple(range(sizes[0], sizes[1] + 1, 2))


def _integers(bounds: tuple[int, int]) -> Law:
    return "one of", tuple(range(bounds[0], bounds[1] + 1))


def _chance(p: float) -> Law:
    return "chance", (p,)


def laws(name: str, step: Any, number: int) -> dict[str, Law]:
    """The plain form's laws for the number-th different step of its type in a preset (from 0)."""
    if name == "generic":
        if step.step == "blur":
            return {
                "isotropic": _chance(1),
                "isotropic size": ("one of", (15,)),
                "isotropic sigma": ("uniform", (0.2, 3)),
            }
        found = {kind: _chance(1 / 3) for kind in ("gaussian", "peak", "poisson_gaussian")}
        peaks = {f"{kind} peak": ("uniform", (50.0, 150.0)) for kind in ("peak", "poisson_gaussian")}
        sigmas = {"gaussian sigma": ("uniform", (0.0, 25.0)), "poisson_gaussian sigma": ("uniform", (0.0, 5.0))}
        return found | peaks | sigmas
    if name in plain.NUMPY:
        return _bsrgan_laws(plain.BSRGAN if name == "bsrgan" else plain.HGGT_BSRGAN, step, number)
    single = {
        "hggt": plain.HGGT,
        "hggt-enhance-noise": plain.ENHANCE_NOISE,
        "hggt-enhance-blur": plain.ENHANCE_BLUR,
    }
    pairs = {"hggt-two-stage": (plain.HGGT_TWO_STAGE, 0.1), "real-esrgan": (plain.REAL_ESRGAN, 0.8)}
    if name in single:
        return _stage_laws(single[name], step)
    stages, final = pairs[name]
    if step.step == "sinc":
        return {"nothing": _chance(1 - final), "sinc": _chance(final), "sinc size": _sizes(stages[1].sizes)}
    return _stage_laws(stages[min(number, 1)], step)


def _stage_laws(stage: Any, step: Any) -> dict[str, Law]:
    if step.step == "jpeg":
        return {"jpeg": _chance(1), "jpeg quality": _integers(stage.quality)}
    if step.step == "resize":
        low, high = stage.resize
        chances = dict(zip(("down", "same", "up"), map(_chance, stage.directions), strict=True))
        return chances | {"down scale": ("uniform", (low, 1)), "up scale": ("uniform", (1, high))}
    if step.step == "noise":
        return {
            "gaussian": _chance(0.5),
            "poisson": _chance(0.5),
            "gaussian sigma": ("uniform", stage.gaussian),
            "poisson scale": ("uniform", stage.poisson),
            "gaussian grey": _chance(stage.grey),
            "poisson grey": _chance(stage.grey),
        }
    found = {
        "nothing": _chance(1 - stage.blur),
        "sinc": _chance(stage.blur * stage.sinc),
        "sinc size": _sizes(stage.sizes),
    }
    for short, weight in stage.kinds:
        kind = {"iso": "isotropic", "aniso": "anisotropic"}.get(short, short.replace("iso", "isotropic"))
        found |= {kind: _chance(stage.blur * (1 - stage.sinc) * weight), f"{kind} size": _sizes(stage.sizes)}
        for key in ("sigma", "sigma_x", "sigma_y"):
            found[f"{kind} {key}"] = ("uniform", stage.sigma)
        if kind.endswith("anisotropic"):
            found[f"{kind} theta"] = ("uniform", (-math.pi, math.pi))
        beta = stage.beta_gaussian if kind.startswith("generalized") else stage.beta_plateau
        found[f"{kind} beta"] = ("halves", beta)
    return found


def _bsrgan_laws(p: Any, step: Any, number: int) -> dict[str, Law]:
    def sizes(half: tuple[int, int]) -> Law:
        return _sizes((2 * half[0] + 1, 2 * half[1] + 1))

    if step.step == "halve":
        return {"halve": _chance(0.25), "nothing": _chance(0.75)}
    if step.step == "jpeg":
        chance = 0.9 if number == 0 else 1
        return {"jpeg": _chance(chance), "nothing": _chance(1 - chance), "jpeg quality": _integers(p.quality)}
    if step.step == "covariance_blur":
        found = {"fspecial": _chance(1 - p.anisotropic), "covariance": _chance(p.anisotropic)}
        found |= {f"{kind} size": sizes(p.half_sizes) for kind in ("fspecial", "covariance")}
        widest = p.eigenvalues[0] + 4 * p.eigenvalues[1]
        found |= {f"covariance eigenvalue_{n}": ("uniform", (0, widest)) for n in (1, 2)}
        sigma: Law = ("uniform", (0, p.isotropic[0] + 4 * p.isotropic[1]))
        return found | {"covariance theta": ("uniform", (0, math.pi)), "fspecial sigma": sigma}
    if step.step == "middle_resize":
        return {
            "middle_resize": _chance(0.75),
            "shifted_downsample": _chance(0.25),
            "middle_resize scale": ("uniform", (1, p.middle_resize(4))),
            "shifted_downsample size": sizes(p.shifted_half_sizes),
            "shifted_downsample sigma": ("uniform", (p.shifted_sigma[0], p.shifted_sigma[1] * 4)),
            "shifted_downsample scale": ("one of", (4,)),
        }
    return {
        "gaussian": _chance(0.8),
        "covariance": _chance(0.2),
        "gaussian grey": _chance(0.5),
        "gaussian sigma": _integers(p.noise),
    }


def deviations(found: dict[str, Array], expected: dict[str, Law], count: int) -> dict[str, float]:
    """|z| by number drawn; infinite for a value that the law excludes."""
    result = {}
    for key, (law, numbers) in expected.items():
        values = found.get(key, np.empty(0))
        if law == "chance":
            hits, trials = (values.sum(), len(values)) if key.endswith(" grey") else (len(values), count)
            p = numbers[0]
            if p in (0, 1):
                z = 0.0 if hits == trials * p else math.inf
            else:
                z = abs(hits - trials * p) / math.sqrt(trials * p * (1 - p)) if trials else 0.0
            result[f"how often {key}"] = z
        elif len(values) == 0:
            continue
        elif law == "one of":
            known = np.isin(values, numbers)
            counts = [np.count_nonzero(values == number) for number in numbers]
            p = stats.chisquare(counts).pvalue if len(numbers) > 1 and known.all() else float(known.all())
            result[key] = _z(p)
        else:
            low, high = numbers
            inside = values[values != 1] if law == "halves" else values
            excluded = inside.min() < low - 1e-5 or inside.max() > high + 1e-5
            at, below = ([low, high], [0.0, 1.0])
            if law == "halves" and low < 1 < high:  # as many below 1 as above
                at, below = ([low, 1.0, high], [0.0, 0.5, 1.0])
            if excluded:
                result[key] = math.inf
                continue
            ranks = np.interp(inside, at, below)
            result[key] = _z(stats.kstest(ranks, "uniform").pvalue)
            for end, outer in (("low", ranks < _END), ("high", ranks > 1 - _END)):
                p = stats.binomtest(int(outer.sum()), len(ranks), _END).pvalue
                result[f"{key}, {end} end"] = _z(p)
    unknown = {key for key in found if key not in expected and "cutoff" not in key and not key.endswith(" theta")}
    return result | {f"{key} is not drawn by the plain form": math.inf for key in unknown if not _fixed(found[key])}


_END = 0.003  # of the values, at each end of a range: a range that begins a little later has none there


def _fixed(values: Array) -> bool:
    return bool(np.all(values == values[0]))


def _z(p: float) -> float:
    return float(stats.norm.isf(p / 2)) if p > 0 else math.inf


def draw_deviations(name: str, pipeline: Pipeline, count: int, seed: int, chosen: Any = None) -> dict[str, float]:
    """`deviations` of all steps, or of the chosen one."""
    result = {}
    for step, number in different_steps(pipeline):
        if step.step != "resize_to_output" and chosen in (None, step):
            found = deviations(observed(step, count, seed), laws(name, step, number), count)
            result |= {f"{step.step} {number + 1}: {key}": z for key, z in found.items()}
    return result


@pytest.mark.parametrize("name", PRESETS)
def test_the_draws_follow_the_numbers_of_the_plain_form(name: str) -> None:
    number, z = strongest(draw_deviations(name, get_pipeline(name), 3000, 31))
    assert z < LIMIT, f"{number}: z = {z:.1f}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_100000_draws_follow_the_numbers_of_the_plain_form(name: str) -> None:
    number, z = strongest(draw_deviations(name, get_pipeline(name), DRAWS, 32))
    assert z < LIMIT, f"{number}: z = {z:.1f}"


def detect_draws(name: str, title: str) -> tuple[str, float]:
    """The drawn number that tells a mutated preset from the plain form best, and its z."""
    pipeline = get_pipeline(name)
    mutated = dict(mutations(pipeline))[title]
    before = [step for step, _ in different_steps(pipeline)]
    (changed,) = [step for step, _ in different_steps(mutated) if step not in before]
    found = strongest(draw_deviations(name, mutated, DRAWS // 10, 33, changed))
    return found if found[1] > LIMIT + 1 else strongest(draw_deviations(name, mutated, DRAWS, 33, changed))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "title"), MUTATIONS)
def test_a_parameter_off_by_20_percent_shows_in_the_draws(name: str, title: str) -> None:
    number, z = detect_draws(name, title)
    assert z > LIMIT, f"strongest: {number}, z = {z:.1f}"
