"""The two-stage, BSRGAN and RGAN presets against a table written from the papers a second time on purpose."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.degrade import PRESETS, degrade_picture, get_pipeline, kernels, ops
from goldeye.errors import InvalidInput

DRAWS = 4000
Steps = list[dict[str, Any]]


@lru_cache(maxsize=16)
def draws(name: str, scale: int = 4) -> list[Steps]:
    return [PRESETS[name].draw(np.random.default_rng([21, n]), scale)["steps"] for n in range(DRAWS)]


def share(part: int, whole: int, probability: float) -> None:
    """Within 4.5 standard deviations of a binomial."""
    assert abs(part / whole - probability) <= 4.5 * math.sqrt(probability * (1 - probability) / whole)


def fills(values: Iterable[float], low: float, high: float) -> None:
    """Uniform over [low, high]: near both ends, and with the right mean."""
    values = list(values)
    width = high - low
    gap = max(0.01, 10 / len(values)) * width
    assert low <= min(values) <= low + gap
    assert high - gap <= max(values) <= high
    assert abs(np.mean(values) - (low + high) / 2) < 4.5 * width / math.sqrt(12 * len(values))


def even(values: Iterable[Any], kinds: Iterable[Any]) -> None:
    """Each of `kinds` equally often, and nothing else."""
    counts, expected = Counter(values), list(kinds)
    assert set(counts) == set(expected)
    for kind in expected:
        share(counts[kind], counts.total(), 1 / len(expected))


# Two stages ------------------------------------------------------------------------------------------------------

TWO_STAGES: dict[str, dict[str, Any]] = {
    "real-esrgan": {
        "kinds": {
            "isotropic": 0.45,
            "anisotropic": 0.25,
            "generalized_isotropic": 0.12,
            "generalized_anisotropic": 0.03,
            "plateau_isotropic": 0.12,
            "plateau_anisotropic": 0.03,
        },
        "sinc": 0.1,
        "grey": 0.4,
        "final sinc": 0.8,
        "stages": [
            {
                "sizes": (7, 21),
                "blur": 1.0,
                "sigma": (0.2, 3),
                "resize": (0.2, 0.7, 0.1),
                "range": (0.15, 1.5),
                "gaussian": (1, 30),
                "poisson": (0.05, 3),
                "quality": (30, 95),
            },
            {
                "sizes": (7, 21),
                "blur": 0.8,
                "sigma": (0.2, 1.5),
                "resize": (0.3, 0.4, 0.3),
                "range": (0.3, 1.2),
                "gaussian": (1, 25),
                "poisson": (0.05, 2.5),
                "quality": (30, 95),
            },
        ],
    },
    "hggt-two-stage": {
        "kinds": {"isotropic": 0.7, "anisotropic": 0.3},
        "sinc": 0.01,
        "grey": 0.2,
        "final sinc": 0.1,
        "stages": [
            {
                "sizes": (3, 7),
                "blur": 1.0,
                "sigma": (0.1, 0.6),
                "resize": (0.1, 0.85, 0.05),
                "range": (0.9, 1.1),
                "gaussian": (1, 8),
                "poisson": (0.05, 0.5),
                "quality": (85, 95),
            },
            {
                "sizes": (3, 5),
                "blur": 0.8,
                "sigma": (0.1, 0.4),
                "resize": (0.1, 0.85, 0.05),
                "range": (0.9, 1.1),
                "gaussian": (0, 4),
                "poisson": (0, 0.3),
                "quality": (87, 95),
            },
        ],
    },
}


def two_stages(steps: Steps) -> tuple[Steps, Steps, Steps]:
    """Split: first stage to its JPEG, second to its noise, then the end."""
    first = next(i for i, step in enumerate(steps) if step["step"] == "jpeg") + 1
    second = next(i for i, step in enumerate(steps[first:], first) if step["step"] == "noise") + 1
    return steps[:first], steps[first:second], steps[second:]


def kind_of(blur: dict[str, Any]) -> str:
    if blur["kernel"] in ("generalized", "plateau"):
        even_axes = blur["sigma_x"] == blur["sigma_y"] and blur["theta"] == 0
        return f"{blur['kernel']}_{'isotropic' if even_axes else 'anisotropic'}"
    return str(blur["kernel"])


@pytest.mark.parametrize("name", list(TWO_STAGES))
@pytest.mark.parametrize("stage", [0, 1])
def test_a_stage_draws_the_papers_distributions(name: str, stage: int) -> None:
    table = TWO_STAGES[name]["stages"][stage]
    parts = [two_stages(steps)[stage] for steps in draws(name)]
    low, high = table["sizes"]

    blurs = [step for part in parts for step in part if step["step"] == "blur"]
    share(len(blurs), DRAWS, table["blur"])
    even((blur["size"] for blur in blurs), range(low, high + 1, 2))
    sinc = [blur for blur in blurs if blur["kernel"] == "sinc"]
    share(len(sinc), len(blurs), TWO_STAGES[name]["sinc"])
    small, large = ([b["cutoff"] for b in sinc if (b["size"] < 13) == is_small] for is_small in (True, False))
    fills(small, math.pi / 3, math.pi)
    if large:
        fills(large, math.pi / 5, math.pi)
    rest = [blur for blur in blurs if blur["kernel"] != "sinc"]
    kinds = Counter(map(kind_of, rest))
    assert set(kinds) == set(TWO_STAGES[name]["kinds"])
    for kind, probability in TWO_STAGES[name]["kinds"].items():
        share(kinds[kind], len(rest), probability)
    fills((blur["sigma_x"] if "sigma_x" in blur else blur["sigma"] for blur in rest), *table["sigma"])
    fills((blur["sigma_y"] for blur in rest if kind_of(blur) == "anisotropic"), *table["sigma"])
    fills((blur["theta"] for blur in rest if kind_of(blur) == "anisotropic"), -math.pi, math.pi)
    for family, low_beta, high_beta in (("generalized", 0.5, 4), ("plateau", 1, 2)):
        betas = [blur["beta"] for blur in rest if blur["kernel"] == family]
        if betas:
            share(sum(beta > 1 for beta in betas), len(betas), 0.5)
            fills((beta for beta in betas if beta > 1), 1, high_beta)
            assert min(betas) >= low_beta

    resizes = [next(step for step in part if step["step"] == "resize") for part in parts]
    scales = [resize["scale"] for resize in resizes]
    for probability, found in zip(
        table["resize"],
        (sum(s > 1 for s in scales), sum(s < 1 for s in scales), sum(s == 1 for s in scales)),
        strict=True,
    ):
        share(found, DRAWS, probability)
    fills((s for s in scales if s < 1), table["range"][0], 1)
    fills((s for s in scales if s > 1), 1, table["range"][1])
    even((resize["mode"] for resize in resizes), ("area", "bilinear", "bicubic"))
    assert {resize.get("relative_to") for resize in resizes} == {None if stage == 0 else "output"}

    noises = [next(step for step in part if step["step"] == "noise") for part in parts]
    share(sum(noise["kind"] == "gaussian" for noise in noises), DRAWS, 0.5)
    fills((noise["sigma"] for noise in noises if noise["kind"] == "gaussian"), *table["gaussian"])
    fills((noise["scale"] for noise in noises if noise["kind"] == "poisson"), *table["poisson"])
    share(sum(noise["grey"] for noise in noises), DRAWS, TWO_STAGES[name]["grey"])
    jpegs = [
        next(step for step in two_stages(steps)[0 if stage == 0 else 2] if step["step"] == "jpeg")
        for steps in draws(name)
    ]
    even((step["quality"] for step in jpegs), range(table["quality"][0], table["quality"][1] + 1))


@pytest.mark.parametrize("name", list(TWO_STAGES))
def test_the_end_of_two_stages(name: str) -> None:
    """[resize, perhaps sinc] and JPEG in either order; the sinc has the second stage's sizes and a cut-off ≥ π/3."""
    ends = [two_stages(steps)[2] for steps in draws(name)]
    orders = Counter("-".join(step["step"] for step in end) for end in ends)
    sinc = TWO_STAGES[name]["final sinc"]
    for order, probability in (
        ("resize_to_output-blur-jpeg", sinc / 2),
        ("jpeg-resize_to_output-blur", sinc / 2),
        ("resize_to_output-jpeg", (1 - sinc) / 2),
        ("jpeg-resize_to_output", (1 - sinc) / 2),
    ):
        share(orders.pop(order), DRAWS, probability)
    assert not orders
    blurs = [step for end in ends for step in end if step["step"] == "blur"]
    low, high = TWO_STAGES[name]["stages"][1]["sizes"]
    assert {blur["kernel"] for blur in blurs} == {"sinc"}
    even((blur["size"] for blur in blurs), range(low, high + 1, 2))
    fills((blur["cutoff"] for blur in blurs), math.pi / 3, math.pi)
    even((s["mode"] for end in ends for s in end if s["step"] == "resize_to_output"), ("area", "bilinear", "bicubic"))


# BSRGAN ----------------------------------------------------------------------------------------------------------

BSRGAN: dict[str, dict[str, Any]] = {
    "bsrgan": {
        "anisotropic": 0.5,
        "eigenvalue": lambda s: 4 + s,
        "sigma": lambda s: 2 + 0.2 * s,
        "sizes": (7, 25),
        "divisor": lambda s: 2 * s,
        "shifted sizes": (25, 25),
        "shifted sigma": lambda s: 0.6 * s,
        "level": (2, 25),
        "quality": (30, 95),
    },
    "hggt-bsrgan": {
        "anisotropic": 0.3,
        "eigenvalue": lambda s: 0.2 + 0.2 * s,
        "sigma": lambda s: 0.2 + 0.2 * s,
        "sizes": (3, 9),
        "divisor": lambda s: 1 / 0.85,
        "shifted sizes": (3, 9),
        "shifted sigma": lambda s: 0.25 * s,
        "level": (1, 12),
        "quality": (75, 95),
    },
}
MODES = ("bilinear", "bicubic", "opencv_area")


@pytest.mark.parametrize("name", list(BSRGAN))
@pytest.mark.parametrize("left", [4, 2])
def test_bsrgan_draws_its_distributions(name: str, left: int) -> None:
    """By the scale that is left: 4, or 2 after the pre-downsample."""
    table = BSRGAN[name]
    halved = [steps for steps in draws(name) if steps[0]["step"] == "halve"]
    share(len(halved), DRAWS, 0.25)
    chosen = halved if left == 2 else [steps for steps in draws(name) if steps[0]["step"] != "halve"]
    number = len(chosen)
    flat = [step for steps in chosen for step in steps]

    blurs = [step for step in flat if step["step"] == "blur"]
    assert len(blurs) == 2 * number
    even((blur["size"] for blur in blurs), range(table["sizes"][0], table["sizes"][1] + 1, 2))
    turned = [blur for blur in blurs if blur["kernel"] == "covariance"]
    share(len(turned), len(blurs), table["anisotropic"])
    for key in ("eigenvalue_1", "eigenvalue_2"):
        fills((blur[key] for blur in turned), 0, table["eigenvalue"](left))
    fills((blur["theta"] for blur in turned), 0, math.pi)
    fills((blur["sigma"] for blur in blurs if blur["kernel"] == "fspecial"), 0, table["sigma"](left))

    middle = [step for step in flat if step["step"] == "middle_resize"]
    shifted = [step for step in flat if step["step"] == "shifted_downsample"]
    assert len(middle) + len(shifted) == number
    share(len(shifted), number, 0.25)
    fills((1 / step["scale"] for step in middle), 1, table["divisor"](left))
    even((step["mode"] for step in middle), MODES)
    even((step["size"] for step in shifted), range(table["shifted sizes"][0], table["shifted sizes"][1] + 1, 2))
    fills((step["sigma"] for step in shifted), 0.1, table["shifted sigma"](left))
    assert {step["scale"] for step in shifted} == {left}
    even((step["mode"] for step in flat if step["step"] in ("resize_to_output", "halve")), MODES)

    noises = [step for step in flat if step["step"] == "noise"]
    assert len(noises) == number
    covariances = [noise["covariance"] for noise in noises if noise["kind"] == "covariance"]
    gaussian = [noise for noise in noises if noise["kind"] == "gaussian"]
    share(len(covariances), number, 0.2)
    share(sum(noise["grey"] for noise in gaussian), number, 0.4)
    even((noise["sigma"] for noise in gaussian), range(table["level"][0], table["level"][1] + 1))
    highest = (table["level"][1] / 255) ** 2
    traces = [np.trace(covariance) / highest for covariance in covariances]  # of D: three uniform numbers
    assert abs(np.mean(traces) - 1.5) < 4.5 * 0.5 / math.sqrt(len(traces))
    for covariance in covariances:
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
        assert np.min(covariance) >= 0

    jpegs = [sum(step["step"] == "jpeg" for step in steps) for steps in chosen]
    share(sum(jpegs) - number, number, 0.9)
    assert all(steps[-1]["step"] == "jpeg" for steps in chosen)
    even((s["quality"] for s in flat if s["step"] == "jpeg"), range(table["quality"][0], table["quality"][1] + 1))


@pytest.mark.parametrize("name", list(BSRGAN))
def test_bsrgan_shuffles_its_steps(name: str) -> None:
    """Any order of six steps is as likely as another, but the last resize always follows the middle one."""
    names = {"middle_resize": "M", "shifted_downsample": "M", "resize_to_output": "L", "noise": "N", "blur": "B"}
    orders: Counter[str] = Counter()
    for steps in draws(name):
        shuffled = [step for step in steps if step["step"] != "halve"][:-1]
        orders["".join(names.get(step["step"], "J") for step in shuffled)] += 1
    assert all(order.index("M") < order.index("L") for order in orders)
    whole = {order: count for order, count in orders.items() if "J" in order}
    # 6! / (2 blurs alike · the two resizes kept) = 180 orders of the draws with JPEG in the middle.
    assert len(whole) == 180
    expected = sum(whole.values()) / 180
    statistic = sum((count - expected) ** 2 / expected for count in whole.values())
    assert statistic < 179 + 4.5 * math.sqrt(2 * 179)


@pytest.mark.parametrize("name", list(BSRGAN))
def test_bsrgan_at_scale_2_has_no_pre_downsample(name: str) -> None:
    assert all(steps[0]["step"] != "halve" for steps in draws(name, 2))
    with pytest.raises(InvalidInput, match=r"is defined for scale 2 or 4, not 3\."):
        PRESETS[name].draw(np.random.default_rng(0), 3)


# RGAN ------------------------------------------------------------------------------------------------------------


def test_generic_draws_the_papers_distributions() -> None:
    samples = draws("generic")
    assert {tuple(step["step"] for step in steps) for steps in samples} == {("blur", "resize_to_output", "noise")}
    assert {(steps[0]["kernel"], steps[0]["size"]) for steps in samples} == {("isotropic", 15)}
    fills((steps[0]["sigma"] for steps in samples), 0.2, 3)
    even((steps[1]["mode"] for steps in samples), ("nearest", "bilinear", "bicubic", "lanczos"))
    noises = [steps[2] for steps in samples]
    gaussian = [noise for noise in noises if noise["kind"] == "gaussian"]
    counted = [noise for noise in noises if noise["kind"] == "poisson_gaussian"]
    share(len(gaussian), DRAWS, 1 / 3)
    share(sum(noise["sigma"] == 0 for noise in counted), DRAWS, 1 / 3)
    assert len(gaussian) + len(counted) == DRAWS
    assert not any(noise["grey"] for noise in gaussian)
    fills((noise["sigma"] for noise in gaussian), 0, 25)
    fills((noise["peak"] for noise in counted), 50, 150)
    fills((noise["sigma"] for noise in counted if noise["sigma"] > 0), 0, 5)


# Applying --------------------------------------------------------------------------------------------------------


def gt() -> Any:
    y, x = np.mgrid[:64, :80] / 9.0
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x)], axis=-1)
    return (0.5 + 0.4 * waves).astype(np.float32)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([*TWO_STAGES, *BSRGAN, "generic"]), st.integers(0, 10**9), st.sampled_from([2, 4]))
def test_a_sample_is_the_composition_of_its_steps(name: str, seed: int, scale: int) -> None:
    """Whatever was drawn, applying it is the operations one after another, written here by hand."""
    lr, parameters = degrade_picture(gt(), PRESETS[name], np.random.default_rng(seed), scale)
    height, width = 64 // scale, 80 // scale
    picture = gt()
    for step in json.loads(json.dumps(parameters))["steps"]:
        match step:
            case {"step": "blur", "kernel": "sinc", "size": size, "cutoff": cutoff}:
                picture = ops.blur(picture, kernels.sinc(size, cutoff))
            case {"step": "blur", "kernel": "isotropic", "size": size, "sigma": sigma}:
                picture = ops.blur(picture, kernels.isotropic_gaussian(size, sigma))
            case {"step": "blur", "kernel": "fspecial", "size": size, "sigma": sigma}:
                picture = ops.blur(picture, kernels.fspecial_gaussian(size, sigma))
            case {"step": "blur", "kernel": "anisotropic", "size": size}:
                picture = ops.blur(
                    picture, kernels.anisotropic_gaussian(size, step["sigma_x"], step["sigma_y"], step["theta"])
                )
            case {"step": "blur", "kernel": "covariance", "size": size, "theta": theta}:
                eigenvalues = step["eigenvalue_1"], step["eigenvalue_2"]
                picture = ops.blur(picture, kernels.covariance_gaussian(size, theta, *eigenvalues))
            case {"step": "blur", "kernel": family, "size": size, "beta": beta}:
                make = kernels.plateau if family == "plateau" else kernels.generalized_gaussian
                picture = ops.blur(picture, make(size, step["sigma_x"], step["sigma_y"], step["theta"], beta))
            case {"step": "resize", "scale": factor, "mode": mode, "relative_to": "output"}:
                picture = ops.resize_to(picture, max(1, int(height * factor)), max(1, int(width * factor)), mode)
            case {"step": "resize", "scale": factor, "mode": mode}:
                picture = ops.resize_by(picture, factor, mode)
            case {"step": "halve", "mode": mode}:
                picture = np.clip(ops.resize_to(picture, 32, 40, mode), 0, 1)
            case {"step": "middle_resize", "scale": factor, "mode": mode}:
                rows, columns = (int(side * factor) for side in picture.shape[:2])
                picture = np.clip(ops.resize_to(picture, rows, columns, mode), 0, 1)
            case {"step": "shifted_downsample", "size": size, "sigma": sigma, "scale": factor}:
                kernel = kernels.shifted(kernels.fspecial_gaussian(size, sigma), factor)
                picture = np.clip(ops.shifted_downsample(picture, kernel, factor), 0, 1)
            case {"step": "resize_to_output", "mode": mode}:
                picture = ops.resize_to(picture, height, width, mode)
                picture = np.clip(picture, 0, 1) if step.get("clip") else picture
            case {"step": "jpeg", "quality": quality}:
                picture = ops.jpeg(picture, quality)
            case {"step": "noise", "kind": kind, "seed": noise_seed}:
                rng = np.random.Generator(np.random.SFC64(noise_seed))
                if kind == "gaussian":
                    picture = ops.gaussian_noise(picture, step["sigma"], step["grey"], rng)
                elif kind == "poisson":
                    picture = ops.poisson_noise(picture, step["scale"], step["grey"], rng)
                elif kind == "covariance":
                    picture = ops.covariance_noise(picture, step["covariance"], rng)
                else:
                    picture = ops.poisson_gaussian_noise(picture, step["peak"], step["sigma"], rng)
            case _:
                raise AssertionError(step)
    np.testing.assert_array_equal(lr, ops.round_to_8bit(picture))


def test_sharpening_is_an_option(tmp_path: Path) -> None:
    """With `sharpen` the LR picture is that of the sharpened GT; the parameters are otherwise the same."""
    path = tmp_path / "sharp.yaml"
    path.write_text("extends: real-esrgan\nsharpen: true\n")
    rough = ops.resize_to(np.random.default_rng(0).random((16, 20, 3), dtype=np.float32), 64, 80, "nearest")
    lr, parameters = degrade_picture(rough, get_pipeline(str(path)), np.random.default_rng(3))
    plain = PRESETS["real-esrgan"].draw(np.random.default_rng(3))
    assert parameters["steps"] == [{"step": "sharpen"}, *plain["steps"]]
    np.testing.assert_array_equal(lr, PRESETS["real-esrgan"].apply(ops.sharpen(rough), plain))
    assert (lr != PRESETS["real-esrgan"].apply(rough, plain)).any()


def test_a_mixture_draws_one_of_its_pipelines(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text("mixture: {hggt: 0.75, bicubic: 0.25}")
    mixed = get_pipeline(str(path))
    drawn = [mixed.draw(np.random.default_rng([4, n])) for n in range(DRAWS)]
    clean = sum(parameters["steps"] == [{"step": "bicubic"}] for parameters in drawn)
    share(clean, DRAWS, 0.25)
    others = [parameters for parameters in drawn if parameters["steps"] != [{"step": "bicubic"}]]
    assert all([step["step"] for step in one["steps"]][-1] == "resize_to_output" for one in others)
    path.write_text("sharpen: true\nmixture: {hggt-enhance-noise: 0.3333333, hggt-enhance-blur: 0.6666666}")
    enhancers = get_pipeline(str(path))
    assert enhancers.keeps_size
    assert [step["step"] for step in enhancers.draw(np.random.default_rng(0), 1)["steps"]].count("sharpen") == 1
    gt = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    np.testing.assert_array_equal(mixed.apply(gt, others[0]), PRESETS["hggt"].apply(gt, others[0]))


def test_the_bundled_models_mixture() -> None:
    """Half HGGT's order of the code, three tenths the paper's (noise and JPEG last), a fifth clean."""
    last = Counter(steps[-1]["step"] for steps in draws("goldeye"))
    for step, probability in (("resize_to_output", 0.5), ("jpeg", 0.3), ("bicubic", 0.2)):
        share(last[step], DRAWS, probability)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_written_as_yaml_is_the_preset(tmp_path: Path, name: str) -> None:
    path = tmp_path / "copy.yaml"
    path.write_text(json.dumps(PRESETS[name].model_dump()))
    assert get_pipeline(str(path)) == PRESETS[name]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("extends: real-esrgam", "Did you mean 'real-esrgan'"),
        ("extends: bsrgan\nscales: [0]", "scales"),
        ("steps: [{step: random_order, groups: [[{step: jpeg, quality: [9, 9]}]]}, {step: bicubic}]", "groups"),
        ("steps: [{step: random_order, groups: [[{step: bicubic}], []], keep: [2]}]", "0 to 1"),
        ("steps: [{step: random_order, groups: [[{step: bicubic}], [{step: bicubic}]]}]", "exactly one step"),
        (
            "steps: [{step: random_order, groups: [[{step: resize_to_output}],"
            " [{step: resize, directions: {same: 1}, range: [1, 1]}]]}]",
            "before it",
        ),
        (
            "steps: [{step: blur, radius: [1, 1], kinds: {isotropic: 1}, sinc: 0, sigma: [1, 1],"
            " plateau_beta: [2, 3]}, {step: bicubic}]",
            "holds 1",
        ),
        ("mixture: {hggt: 0.5, bicubic: 0.4}", "sum to 1"),
        ("mixture: {hggt: 0.5, bicubik: 0.5}", "Did you mean 'bicubic'"),
        ("mixture: {hggt: 0.5, hggt-enhance-blur: 0.5}", "keeps_size"),
        ("mixture: {1: 0.5, bicubic: 0.5}", "Unknown preset '1'"),
        ("mixture: {}", "Unknown preset"),
        ("mixture: {hggt: 0.5, bsrgan: 0.5}", "scales"),
        ("mixture: {hggt: 1}\nsteps: [{step: bicubic}]", "not both"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=names) as caught:
        get_pipeline(str(path))
    assert "\n" not in caught.value.message
