from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.degrade import PRESETS, Pipeline, degrade_picture, get_pipeline, kernels, ops
from goldeye.degrade.steps import Jpeg, Resize, ResizeToOutput
from goldeye.errors import InvalidInput
from goldeye.images import FloatPicture, matlab_resize_scale, rgb_to_lab

STOCHASTIC = [name for name in PRESETS if name != "bicubic"]


def gt(height: int = 64, width: int = 64, seed: int = 0) -> FloatPicture:
    """A random picture with detail at several scales, in 8-bit values."""
    rng = np.random.default_rng(seed)
    layers = [ops.resize_to(rng.random((n, n, 3), dtype=np.float32), height, width, "bilinear") for n in (3, 8, 24)]
    return ops.round_to_8bit(np.mean(layers, axis=0, dtype=np.float32))


# Any sample ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(list(PRESETS)), st.integers(0, 10**6), st.integers(16, 60), st.integers(16, 60), st.integers(1, 5)
)
def test_any_sample(name: str, number: int, height: int, width: int, scale: int) -> None:
    """Shape, range, 8-bit values; and the parameters replay the identical picture after a journey through JSON."""
    source, pipeline = gt(height, width), PRESETS[name]
    if pipeline.scales is not None and scale not in pipeline.scales:
        with pytest.raises(InvalidInput, match="is defined for scale 2 or 4"):
            degrade_picture(source, pipeline, np.random.default_rng(number), scale)
        return
    lr, parameters = degrade_picture(source, pipeline, np.random.default_rng([3, number]), scale)
    expected = (height, width) if pipeline.keeps_size else (height // scale, width // scale)
    assert lr.shape == (*expected, 3)
    assert lr.dtype == np.float32
    np.testing.assert_array_equal(lr, np.rint(lr * 255) / np.float32(255))
    assert lr.min() >= 0
    assert lr.max() <= 1
    replayed = pipeline.apply(source, json.loads(json.dumps(parameters, allow_nan=False)))
    np.testing.assert_array_equal(replayed, lr)
    np.testing.assert_array_equal(source, gt(height, width))  # the GT is left as it was


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_sample_depends_on_its_number_alone(name: str) -> None:
    def sample(number: int) -> FloatPicture:
        return degrade_picture(gt(), PRESETS[name], np.random.default_rng([5, number]))[0]

    forwards = [sample(number) for number in range(6)]
    backwards = [sample(number) for number in reversed(range(6))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
    if name != "bicubic":
        assert (forwards[0] != forwards[1]).any()


@pytest.mark.parametrize("name", list(PRESETS))
def test_colours_stay(name: str) -> None:
    """Mean colour over many samples of one picture: no shift of 1 ΔE (a swapped channel or a gain would show).

    The strongest noise is clipped at black and white and so brings a shift of its own, of about 1 ΔE.
    """
    source = gt(seed=2) * np.array([1.0, 0.7, 0.4], np.float32)
    lab = np.mean(
        [
            rgb_to_lab(degrade_picture(source, PRESETS[name], np.random.default_rng([1, n]))[0]).mean((0, 1))
            for n in range(30)
        ],
        axis=0,
    )
    limit = 1.5 if name in ("real-esrgan", "bsrgan") else 1.0
    assert np.linalg.norm(lab - rgb_to_lab(source).mean((0, 1))) < limit


def test_bicubic_is_matlabs() -> None:
    lr, parameters = degrade_picture(gt(), PRESETS["bicubic"], np.random.default_rng(0))
    np.testing.assert_array_equal(lr, ops.round_to_8bit(matlab_resize_scale(gt(), 1 / 4)))
    assert parameters == {"scale": 4, "steps": [{"step": "bicubic"}]}


def test_parameters_mean_what_they_say() -> None:
    """Applying written parameters is the composition of the operations with those numbers."""
    noise = np.random.Generator(np.random.SFC64(77))
    kernel = kernels.anisotropic_gaussian(7, 0.4, 1.6, 0.3)
    expected = ops.resize_by(ops.blur(gt(), kernel), 0.9, "bilinear")
    expected = ops.jpeg(ops.poisson_noise(expected, 0.6, True, noise), 80)
    parameters = {
        "scale": 2,
        "steps": [
            {"step": "blur", "kernel": "anisotropic", "size": 7, "sigma_x": 0.4, "sigma_y": 1.6, "theta": 0.3},
            {"step": "resize", "scale": 0.9, "mode": "bilinear"},
            {"step": "noise", "kind": "poisson", "scale": 0.6, "grey": True, "seed": 77},
            {"step": "jpeg", "quality": 80},
            {"step": "resize_to_output", "mode": "area"},
        ],
    }
    lr = PRESETS["hggt"].apply(gt(), parameters)
    np.testing.assert_array_equal(lr, ops.round_to_8bit(ops.resize_to(expected, 32, 32, "area")))

    steps = [
        ({"step": "blur", "kernel": "sinc", "size": 9, "cutoff": 2.0}, ops.blur(gt(), kernels.sinc(9, 2.0))),
        (
            {"step": "blur", "kernel": "isotropic", "size": 9, "sigma": 2.0},
            ops.blur(gt(), kernels.isotropic_gaussian(9, 2.0)),
        ),
        (
            {"step": "noise", "kind": "gaussian", "sigma": 9.0, "grey": False, "seed": 5},
            ops.gaussian_noise(gt(), 9.0, False, np.random.Generator(np.random.SFC64(5))),
        ),
    ]
    for step, picture in steps:
        lr = PRESETS["hggt"].apply(gt(), {"scale": 1, "steps": [step]})
        np.testing.assert_array_equal(lr, ops.round_to_8bit(picture))


def test_too_small_a_picture() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        degrade_picture(gt(15, 40), PRESETS["hggt"], np.random.default_rng(0))


# The presets' numbers (HGGT, supplement, Tables 1 and 2), written here a second time on purpose --------------------

TABLE: dict[str, dict[str, Any]] = {
    "hggt": {
        "sizes": (3, 5, 7, 9),
        "sinc": 0.01,
        "blur": (0.1, 1.0),
        "resize": (0.8, 1.2),
        "gaussian": (1, 12),
        "poisson": (0.05, 0.8),
        "quality": (75, 95),
    },
    "hggt-enhance-noise": {
        "sizes": (3, 5, 7),
        "sinc": 0.1,
        "blur": (0.1, 0.5),
        "resize": (0.9, 1.1),
        "gaussian": (6.5, 13),
        "poisson": (0.45, 0.9),
        "quality": (80, 95),
    },
    "hggt-enhance-blur": {
        "sizes": (3, 5, 7),
        "sinc": 0.1,
        "blur": (0.5, 1.0),
        "resize": (0.9, 1.1),
        "gaussian": (0.5, 6.5),
        "poisson": (0.05, 0.45),
        "quality": (80, 95),
    },
}
TABLE["hggt-jpeg-last"] = TABLE["hggt"]
DRAWS = 4000


def check_share(part: int, whole: int, probability: float) -> None:
    """Within 4.5 standard deviations of a binomial."""
    assert abs(part / whole - probability) < 4.5 * math.sqrt(probability * (1 - probability) / whole)


def check_uniform(values: list[float], low: float, high: float) -> None:
    """Fills [low, high] to the ends, with the mean of a uniform distribution."""
    width = high - low
    gap = max(0.01, 8 / len(values)) * width
    assert low <= min(values) < low + gap
    assert high - gap < max(values) <= high
    assert abs(np.mean(values) - (low + high) / 2) < 4.5 * width / math.sqrt(12 * len(values))


@pytest.mark.parametrize("name", list(TABLE))
def test_presets_draw_the_papers_distributions(name: str) -> None:
    table = TABLE[name]
    drawn = [PRESETS[name].draw(np.random.default_rng([11, n])) for n in range(DRAWS)]
    steps = {step: [next(s for s in d["steps"] if s["step"] == step) for d in drawn] for step in
             ("blur", "resize", "noise", "jpeg", "resize_to_output")}  # fmt: skip

    blurs = steps["blur"]
    for size in table["sizes"]:
        check_share(sum(b["size"] == size for b in blurs), DRAWS, 1 / len(table["sizes"]))
    kinds = Counter(b["kernel"] for b in blurs)
    check_share(kinds["sinc"], DRAWS, table["sinc"])
    check_share(kinds["isotropic"], DRAWS, 0.7 * (1 - table["sinc"]))
    check_share(kinds["anisotropic"], DRAWS, 0.3 * (1 - table["sinc"]))
    check_uniform([b["sigma"] for b in blurs if b["kernel"] == "isotropic"], *table["blur"])
    turned = [b for b in blurs if b["kernel"] == "anisotropic"]
    check_uniform([b["sigma_x"] for b in turned], *table["blur"])
    check_uniform([b["sigma_y"] for b in turned], *table["blur"])
    check_uniform([b["theta"] for b in turned], -math.pi, math.pi)
    assert abs(np.corrcoef([b["sigma_x"] for b in turned], [b["sigma_y"] for b in turned])[0, 1]) < 0.1
    cutoffs = [b["cutoff"] for b in blurs if b["kernel"] == "sinc"]
    assert math.pi / 3 <= min(cutoffs)
    assert max(cutoffs) <= math.pi

    scales = [r["scale"] for r in steps["resize"]]
    check_share(sum(s < 1 for s in scales), DRAWS, 0.85)
    check_share(sum(s == 1 for s in scales), DRAWS, 0.05)
    check_uniform([s for s in scales if s < 1], table["resize"][0], 1)
    check_uniform([s for s in scales if s > 1], 1, table["resize"][1])
    for mode in ("area", "bilinear", "bicubic"):
        check_share(sum(r["mode"] == mode for r in steps["resize"]), DRAWS, 1 / 3)
    assert [r["mode"] for r in steps["resize"]] == [r["mode"] for r in steps["resize_to_output"]]

    noises = steps["noise"]
    check_share(sum(n["kind"] == "gaussian" for n in noises), DRAWS, 0.5)
    check_uniform([n["sigma"] for n in noises if n["kind"] == "gaussian"], *table["gaussian"])
    check_uniform([n["scale"] for n in noises if n["kind"] == "poisson"], *table["poisson"])
    check_share(sum(n["grey"] for n in noises), DRAWS, 0.1)
    assert len({n["seed"] for n in noises}) == DRAWS

    qualities = Counter(j["quality"] for j in steps["jpeg"])
    low, high = table["quality"]
    assert sorted(qualities) == list(range(low, high + 1))
    for count in qualities.values():
        check_share(count, DRAWS, 1 / (high - low + 1))


def test_the_order_of_the_steps() -> None:
    def order(name: str) -> list[str]:
        return [step["step"] for step in PRESETS[name].draw(np.random.default_rng(0))["steps"]]

    for name in ("hggt", "hggt-enhance-noise", "hggt-enhance-blur"):
        assert order(name) == ["blur", "resize", "noise", "jpeg", "resize_to_output"]
    assert order("hggt-jpeg-last") == ["blur", "resize", "resize_to_output", "noise", "jpeg"]


def test_jpeg_last_leaves_its_blocks_in_the_lr_picture() -> None:
    """The differences across the 8-pixel grid stand out only if the codec came after the final resize.

    Before a resize to a quarter, the blocks of 8 (luma) and 16 (chroma) pixels leave grids of 2 and 4 pixels.
    """
    steps = (Resize(directions={"down": 0, "same": 1, "up": 0}, range=(0.9, 1.1), modes=("area",)), ResizeToOutput())
    compression = Jpeg(quality=(10, 10))
    rough = np.random.default_rng(0).random((256, 512, 3), dtype=np.float32)
    source = np.clip(0.5 + 4 * (ops.blur(rough, kernels.isotropic_gaussian(21, 4)) - 0.5), 0, 1)

    def blockiness(pipeline: Pipeline) -> float:
        lr, _ = degrade_picture(source, pipeline, np.random.default_rng(0))
        differences = np.abs(np.diff(lr, axis=1)).mean((0, 2))
        return float(differences[7::8].mean() / differences[3::8].mean())

    assert blockiness(Pipeline(steps=(*steps, compression))) > 1.5
    assert blockiness(Pipeline(steps=(steps[0], compression, steps[1]))) < 1.2


# User-written pipelines ------------------------------------------------------------------------------------------

GOOD = """
summary: mild
steps:
  - {step: blur, radius: [2, 2], kinds: {isotropic: 1}, sinc: 0, sigma: [0.5, 0.5]}
  - {step: resize, directions: {same: 1}, range: [0.9, 1.1], modes: [bicubic]}
  - {step: jpeg, quality: [90, 90]}
  - {step: resize_to_output}
"""


def test_a_pipeline_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mild.yaml"
    path.write_text(GOOD)
    lr, parameters = degrade_picture(gt(), get_pipeline(str(path)), np.random.default_rng(0), scale=2)
    assert lr.shape == (32, 32, 3)
    assert parameters["steps"] == [
        {"step": "blur", "kernel": "isotropic", "size": 5, "sigma": 0.5},
        {"step": "resize", "scale": 1.0, "mode": "bicubic"},
        {"step": "jpeg", "quality": 90},
        {"step": "resize_to_output", "mode": "bicubic"},
    ]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("sigma: [0.5, 0.5]", "sigma: [0.5, 0.1]"), "from the smaller to the larger"),
        (("sigma: [0.5, 0.5]", "sigma: [0, 0.1]"), "sigma"),
        (("isotropic: 1", "isotropic: 0.9"), "add up to 1"),
        (("quality: [90, 90]", "quality: [90, 101]"), "quality"),
        (("quality: [90, 90]", "qualty: [90, 90]"), "qual"),
        (("modes: [bicubic]", "modes: [lanczos7]"), "modes"),
        (("range: [0.9, 1.1]", "range: [1.1, 1.2]"), "range"),
        (("  - {step: resize_to_output}", ""), "exactly one step"),
        (("step: jpeg", "step: jpg"), "jpg"),
        (("  - {step: resize, directions: {same: 1}, range: [0.9, 1.1], modes: [bicubic]}\n", ""), "before it"),
    ],
)
def test_a_wrong_pipeline_file(tmp_path: Path, change: tuple[str, str], names: str) -> None:
    assert change[0] in GOOD
    path = tmp_path / "wrong.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(InvalidInput, match=names) as caught:
        get_pipeline(str(path))
    assert "wrong.yaml" in caught.value.message
    assert "\n" not in caught.value.message


def test_unknown_presets() -> None:
    with pytest.raises(InvalidInput, match=r"Unknown preset 'hgt'\. Did you mean 'hggt'\?"):
        get_pipeline("hgt")
    with pytest.raises(InvalidInput, match=r"'nothing\.yaml' does not exist"):
        get_pipeline("nothing.yaml")
    assert get_pipeline("hggt") is PRESETS["hggt"]


@pytest.mark.parametrize("text", ["foo: 3", "extends: hggt\njpeg: last", "mixture: {hggt: 1}\nfoo: 3"])
def test_a_wrong_key_in_a_pipelines_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=r"Unknown setting '(foo|jpeg)'"):
        get_pipeline(str(tmp_path / "own.yaml"))
