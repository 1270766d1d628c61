"""The recipes of ESRGAN, RGAN and EDL: every number of the papers, and two steps of each."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from goldeye.config import TrainConfig, differing_keys, load_recipe, recipe_names
from goldeye.dataset.training import build_dataset
from goldeye.images import write_image
from goldeye.methods.base import require_fit
from goldeye.networks import build_network
from goldeye.networks.weights import load_model
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train

ESRGAN_STEPS = (400_000, (50_000, 100_000, 200_000, 300_000))
EDL_STEPS = (150_000, (10_000, 30_000, 50_000, 80_000, 120_000))
# steps and milestones, β2, weights of pixel, perceptual, adversarial, GAN, discriminator, method
ESRGAN: tuple[Any, ...] = (*ESRGAN_STEPS, 0.99, 0.01, 1, 0.005, "ragan", "vgg-128", "gan")
RGAN_S: tuple[Any, ...] = (*ESRGAN_STEPS, 0.99, 0.005, 1, 0.005, "vanilla", "vgg-128", "gan")
EDL: tuple[Any, ...] = (*EDL_STEPS, 0.999, 0.01, 1, 0.005, "ragan", "patch-gan", "edl")
PRETRAIN: tuple[Any, ...] = (1_000_000, (200_000, 400_000, 600_000, 800_000), 0.99, 1, None, None, None, None, "pixel")


def but(row: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    names = ("steps", "milestones", "beta", "pixel", "perceptual", "adversarial", "gan", "discriminator", "method")
    return tuple(changes.get(name, value) for name, value in zip(names, row, strict=True))


# name: generator, its settings, scale, source, degradation, and the row
ROWS: dict[str, tuple[str, dict[str, Any], int, str, str | None, tuple[Any, ...]]] = {
    "esrgan/pretrain": ("rrdb", {}, 4, "photos", "bicubic", PRETRAIN),
    "esrgan/rrdb": ("rrdb", {}, 4, "photos", "bicubic", ESRGAN),
    "rgan/rcan-pretrain": ("rcan", {}, 4, "photos", "generic", PRETRAIN),
    "rgan/r": ("rcan", {}, 4, "photos", "generic", ESRGAN),
    "rgan/s": ("rcan", {}, 4, "photos", "generic", RGAN_S),
    **{f"rgan/mobile-t{n}-r": ("rcan", {}, 4, "pairs", None, ESRGAN) for n in (1, 2, 3, 4)},
    **{f"rgan/mobile-t{n}-s": ("rcan", {}, 4, "pairs", None, RGAN_S) for n in (1, 2, 3, 4)},
    "edl/pretrain": ("edl", {}, 4, "photos", "bicubic", PRETRAIN),
    "edl/pretrain-x1": ("edl", {"scale": 1}, 1, "pairs", None, PRETRAIN),
    "edl/x1": ("edl", {"scale": 1}, 1, "pairs", None, EDL),
    "edl/x4-single-branch": ("edl", {"branching": "single"}, 4, "pairs", None, but(EDL, method="gan")),
    "edl/x4-no-mask": ("edl", {"branching": "dual"}, 4, "pairs", None, EDL),
    "edl/x4-vgg-128": ("edl", {}, 4, "pairs", None, but(EDL, discriminator="vgg-128")),
    "edl/x4-weighted-sum": ("edl", {}, 4, "pairs", None, but(EDL, method="gan")),
    "edl/x4-pixel": (
        *("edl", {}, 4, "pairs", None),
        but(EDL, method="pixel", pixel=1, perceptual=None, adversarial=None, gan=None, discriminator=None),
    ),
    "edl/x4-pixel-perceptual": ("edl", {}, 4, "pairs", None, but(EDL, adversarial=0)),
    "edl/x4-pixel-adversarial": ("edl", {}, 4, "pairs", None, but(EDL, perceptual=None, method="gan")),
    **{
        f"edl/{name}": ("edl", {}, 4, "pairs", None, EDL)
        for name in ("x4-realsr", "x4-no-noise", "x4-no-ngdc", "x4-ngdc", "aim2019", "ntire2020")
    },
}


def test_the_list_is_whole() -> None:
    shipped = {name for name in recipe_names() if name.partition("/")[0] in ("esrgan", "rgan", "edl")}
    assert shipped == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_settings_are_the_papers(name: str) -> None:
    """Against REFERENCE §4, written out here; of pretraining, ESRGAN's."""
    generator, settings, scale, source, degradation, row = ROWS[name]
    config = load_recipe(name)
    assert (config.generator.architecture, config.generator.settings, config.scale) == (generator, settings, scale)
    assert (config.data.source, config.data.degradation) == (source, degradation)
    assert (config.data.crop, config.data.batch, config.data.augment) == (128, 16, "flip+rotate")
    assert (config.ema, config.accumulate, config.losses.pixel_kind) == (0, 1, "l1")
    perceptual, adversarial = config.losses.perceptual, config.losses.adversarial
    assert perceptual is None or (perceptual.layers, perceptual.weights) == ("conv5_4", "imagenet")
    optimizer = config.optimizer
    assert row == (
        config.steps,
        optimizer.milestones,
        optimizer.betas[1],
        config.losses.pixel,
        perceptual and perceptual.weight,
        adversarial and adversarial.weight,
        adversarial and adversarial.kind,
        config.discriminator and config.discriminator.architecture,
        config.method,
    )
    assert (optimizer.betas[0], optimizer.gamma) == (0.9, 0.5)
    assert optimizer.lr == (2e-4 if row == PRETRAIN else 1e-4)


# Rows of a table that differ in their data alone.
SAME_BUT_DATA = {
    **{f"edl/{name}": "edl/x4-realsr" for name in ("x4-no-noise", "x4-no-ngdc", "x4-ngdc", "aim2019", "ntire2020")},
    **{f"rgan/mobile-t{n}-{net}": f"rgan/mobile-t1-{net}" for n in (2, 3, 4) for net in "rs"},
}
DISTINCT = [name for name in ROWS if name not in SAME_BUT_DATA]


def test_rows_that_differ_in_their_data_alone_say_so() -> None:
    for name, first in SAME_BUT_DATA.items():
        one, other = load_recipe(first), load_recipe(name)
        assert differing_keys(one, other) == []
        assert other.summary != one.summary
        assert other.table != one.table
    for name in DISTINCT:
        assert all(differing_keys(load_recipe(name), load_recipe(other)) for other in DISTINCT if other != name), name


# Of the whole network (REFERENCE §2).
PARAMETERS = {"rrdb": 16_697_987, "rcan": 15_592_355, "vgg-128": 14_499_401, "patch-gan": 2_765_633}
EDL_PARAMETERS = {4: 16_729_694, 1: 16_723_907 + 9 * 3_523}
TABLE_VII = {"single": 16_697_987 + 3 * 3_523, "dual": 16_697_987 + 6 * 3_523}


@pytest.mark.slow
def test_full_networks_have_the_papers_sizes_and_take_the_crops() -> None:
    seen: set[tuple[str, str, str | None]] = set()
    for name in DISTINCT:
        config = load_recipe(name)
        architecture, settings = config.generator.architecture, config.generator.settings
        judge = None if config.discriminator is None else config.discriminator.architecture
        if (architecture, str(settings), judge) in seen:
            continue
        seen.add((architecture, str(settings), judge))
        with torch.device("meta"):
            generator = build_network(architecture, **settings)
            discriminator = None if judge is None else build_network(judge)
        expected = TABLE_VII.get(settings.get("branching", ""))
        expected = expected or PARAMETERS.get(architecture) or EDL_PARAMETERS[config.scale]
        assert sum(p.numel() for p in generator.parameters()) == expected, name
        require_fit(generator, config.data.crop // config.scale, name, scale=config.scale)
        if discriminator is not None:
            assert judge is not None
            assert sum(p.numel() for p in discriminator.parameters()) == PARAMETERS[judge]
            require_fit(discriminator, config.data.crop, name, scale=None)
    assert len(seen) == 11


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HR of 136 pixels and LR of 34 (x4), and pairs of equal size in SAME and HR."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        rng = np.random.default_rng(number)
        coarse = rng.uniform(20, 235, (34, 34, 3)).astype(np.uint8)
        large = coarse.repeat(4, axis=0).repeat(4, axis=1)
        noisy = np.clip(large + rng.normal(0, 5, large.shape), 0, 255).astype(np.uint8)
        for name, picture in (("HR", large), ("LR", coarse), ("SAME", noisy)):
            write_image(folder / name / f"{number}.png", picture)
    return folder


SMALL_GENERATOR = {
    "rrdb": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "edl": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rcan": {"num_feat": 8, "num_group": 1, "num_block": 1, "squeeze_factor": 4},
}


def with_data(config: TrainConfig, data: Path, *, small: bool) -> TrainConfig:
    """The recipe on `data` for two steps of a small batch, and with small networks."""
    values = copy.deepcopy(config.model_dump(mode="json"))
    values |= {"steps": 2, "log_every": 1}
    values["data"] |= {"path": str(data / "HR"), "batch": 2}
    if config.data.source == "pairs":
        values["data"]["lr_path"] = str(data / ("LR" if config.scale == 4 else "SAME"))
    if small:
        values["generator"]["settings"] |= SMALL_GENERATOR[config.generator.architecture]
        values["losses"]["perceptual"] = None
        if config.discriminator is not None:
            values["discriminator"]["settings"] = {"num_feat": 4}
    return TrainConfig.model_validate(values)


TINY = [name for name in recipe_names() if name.startswith(("tiny/edl", "tiny/esrgan", "tiny/rgan"))]


# Each tiny recipe: the full one whose method and terms it has, and the tiny one whose weights it starts from.
TINY_ROWS = {
    "tiny/edl": ("edl/x4-realsr", "tiny/edl-pretrain"),
    "tiny/edl-pretrain": ("edl/pretrain", None),
    "tiny/esrgan": ("esrgan/rrdb", "tiny/esrgan-pretrain"),
    "tiny/esrgan-pretrain": ("esrgan/pretrain", None),
    "tiny/rgan-pretrain": ("rgan/rcan-pretrain", None),
    "tiny/rgan-r": ("rgan/r", "tiny/rgan-pretrain"),
    "tiny/rgan-s": ("rgan/s", "tiny/rgan-pretrain"),
}


def test_every_kind_has_a_tiny_variant() -> None:
    assert list(TINY_ROWS) == TINY
    for name, (full, start) in TINY_ROWS.items():
        tiny, whole = load_recipe(name), load_recipe(full)
        assert tiny.generator.architecture == whole.generator.architecture
        assert (tiny.method, tiny.losses.pixel, tiny.losses.adversarial) == (
            whole.method,
            whole.losses.pixel,
            whole.losses.adversarial,
        )
        assert tiny.data.degradation == (whole.data.degradation or "bicubic")
        if start is not None:
            assert load_recipe(start).generator == tiny.generator


@pytest.mark.parametrize("name", [*DISTINCT, *TINY])
def test_two_steps(name: str, data: Path, tmp_path: Path) -> None:
    """Tiny recipes as they are, the others with small networks; the weights load as the network that was trained."""
    config = with_data(load_recipe(name), data, small=not name.startswith("tiny/"))
    result = train(config, tmp_path / "run", recipe=name)
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    model = load_model(str(result.run))
    assert (model.architecture, model.scale) == (config.generator.architecture, config.scale)
    with torch.no_grad():
        assert model.module(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8 * config.scale, 8 * config.scale)


def test_the_noise_bank_of_a_recipe_changes_the_lr_pictures(data: Path, tmp_path: Path) -> None:
    """Table IX, rows 1 and 2."""
    from goldeye.cli import run as command

    bank = str(tmp_path / "bank")
    assert command(["noise-bank", str(data / "SAME"), "-o", bank, "--patch", "32", "--share", "1", "-q"]) == 0
    plain = with_data(load_recipe("edl/x4-no-noise"), data, small=True)
    noisy = plain.model_copy(update={"data": plain.data.model_copy(update={"noise_bank": Path(bank)})})
    one, other = build_dataset(plain)[0], build_dataset(noisy)[0]
    assert torch.equal(one["gt"], other["gt"])
    assert not torch.equal(one["lr"], other["lr"])
    assert train(noisy, tmp_path / "run", recipe="r").step == 2
