"""Every shipped recipe against REFERENCE §4, written out a second time; train/test_every_recipe.py trains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goldeye.config import load_recipe, recipe_names
from goldeye.degrade import PRESETS

METHODS = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
HALF = 0.5
# Groups of settings, by the table's columns: lr, betas, milestones, gamma.
CONSTANT = {"lr": 1e-4, "betas": (0.9, 0.99), "milestones": (), "gamma": HALF}
PRETRAINED = {"lr": 2e-4, "betas": (0.9, 0.99), "milestones": (), "gamma": HALF}
AT_200K = {"lr": 1e-4, "betas": (0.9, 0.99), "milestones": (200_000,), "gamma": HALF}
TENTH_AT_200K = AT_200K | {"gamma": 0.1}
SWINIR_L1 = AT_200K | {"lr": 2e-4, "milestones": (150_000, 240_000, 270_000, 285_000, 300_000)}
SWINIR_GAN = AT_200K | {"milestones": (200_000, 250_000, 275_000, 287_500)}
BSRGAN = {"lr": 5e-5, "betas": (0.9, 0.999), "milestones": (80_000, 160_000), "gamma": HALF}
ESRGAN = {"lr": 1e-4, "betas": (0.9, 0.99), "milestones": (50_000, 100_000, 200_000, 300_000), "gamma": HALF}
ESRGAN_L1 = ESRGAN | {"lr": 2e-4, "milestones": (200_000, 400_000, 600_000, 800_000)}
EDL = {"lr": 1e-4, "betas": (0.9, 0.999), "milestones": (10_000, 30_000, 50_000, 80_000, 120_000), "gamma": HALF}

# pixel, perceptual and adversarial weight; VGG layers; GAN kind; discriminator.
L1 = (1, None, None, None, None, None)
HGGT = (1, 1, 0.1, "five", "vanilla", "unet-sn")
REAL_LDL = (0.01, 1, 0.1, "five", "vanilla", "unet-sn")
LDL = (0.01, 1, 0.005, "five", "ragan", "vgg-128")
LSGAN = (1, 1, 1, "five", "lsgan", "unet-sn")
R = (0.01, 1, 0.005, "conv5_4", "ragan", "vgg-128")
S = (0.005, 1, 0.005, "conv5_4", "vanilla", "vgg-128")
E = (0.01, 1, 0.005, "conv5_4", "ragan", "patch-gan")

# Crop, batch, augmentation; steps.
C256 = (256, 12, "flip")
C256_8 = (256, 8, "flip")
C128 = (128, 16, "flip+rotate")
K = 1000

# name: method, generator, scale, (crop, batch, augmentation), steps, optimizer, terms, EMA, data (source, degradation
# or None, target)
Row = tuple[str, str, int, tuple[int, int, str], int, dict[str, Any], tuple[Any, ...], float, tuple[Any, ...]]
ROWS: dict[str, Row] = {}


def row(name: str, *settings: Any) -> None:
    ROWS[name] = settings  # type: ignore[assignment]


for network in ("rcan", "elan"):
    for kind in ("noise", "blur"):
        data = ("photos", f"hggt-enhance-{kind}", "original")
        window = (96, 4, "flip+rotate")
        row(f"hggt/enhance-{network}-{kind}", "gan", f"{network}-x1", 1, window, 300 * K, AT_200K, HGGT, 0, data)
HGGT_PHOTOS = ("photos", "hggt", "original")
row("hggt/rrdb-pretrain", "pixel", "rrdb-ps", 4, C256, 300 * K, AT_200K, L1, 0.999, HGGT_PHOTOS)
row("hggt/swinir-pretrain", "pixel", "swinir-classical", 4, C256_8, 300 * K, SWINIR_L1, L1, 0.999, HGGT_PHOTOS)
for target, method in (("original", "gan"), ("positive", "gan"), ("positive+negative", "hggt")):
    name = {"positive+negative": "posneg"}.get(target, target)
    data = ("dataset", "hggt", target)
    row(f"hggt/rrdb-{name}", method, "rrdb-ps", 4, C256, 300 * K, AT_200K, HGGT, 0.999, data)
    row(f"hggt/swinir-{name}", method, "swinir-classical", 4, C256_8, 300 * K, SWINIR_GAN, HGGT, 0.999, data)
for preset, recipe, steps in (("real-esrgan", "real-esrgan/{}", 400), ("hggt-two-stage", "hggt/real-esrgan-{}", 300)):
    data = ("photos", preset, "original")
    row(recipe.format("pretrain"), "pixel", "rrdb", 4, C256, 300 * K, PRETRAINED, L1, 0.999, data)
    last = "rrdb" if preset == "real-esrgan" else "df2kost"
    row(recipe.format(last), "gan", "rrdb", 4, C256, steps * K, CONSTANT, HGGT, 0.999, data)
C256_8_MODES = (256, 12, "flip+rotate")
for preset, recipe in (("bsrgan", "bsrgan/{}"), ("hggt-bsrgan", "hggt/bsrgan-{}")):
    data = ("photos", preset, "original")
    row(recipe.format("pretrain"), "pixel", "rrdb", 4, C256_8_MODES, 300 * K, AT_200K, L1, 0, data)
    last = "rrdb" if preset == "bsrgan" else "df2kost"
    row(recipe.format(last), "gan", "rrdb", 4, C256_8_MODES, 300 * K, BSRGAN, LSGAN, 0.999, data)
row("hggt/ldl-pretrain", "pixel", "rrdb", 4, C256, 300 * K, AT_200K, L1, 0.999, HGGT_PHOTOS)
row("hggt/ldl-df2kost", "ldl", "rrdb", 4, (256, 6, "flip"), 300 * K, CONSTANT, REAL_LDL, 0.999, HGGT_PHOTOS)
row("adatarget/rrdb-pixel", "adatarget", "rrdb", 4, (140, 12, "flip"), 300 * K, TENTH_AT_200K, L1, 0.999, HGGT_PHOTOS)
row(
    "adatarget/rrdb-df2kost", "adatarget-gan", "rrdb", 4, (224, 12, "flip"), 300 * K, TENTH_AT_200K, HGGT, 0.999,
    HGGT_PHOTOS,
)  # fmt: skip
for target in ("original", "positive"):
    for name, preset in (("real-esrgan", "hggt-two-stage"), ("bsrgan", "hggt-bsrgan"), ("ldl", "hggt")):
        row(f"hggt/{name}-{target}", *ROWS[f"hggt/{name}-df2kost"][:8], ("dataset", preset, target))
    row(f"adatarget/rrdb-{target}", *ROWS["adatarget/rrdb-df2kost"][:8], ("dataset", "hggt", target))
BICUBIC = ("photos", "bicubic", "original")
for name, network in (("srresnet", "srresnet"), ("rrdb", "rrdb"), ("swinir", "swinir-classical")):
    for scale in (4, 2):
        ending = "" if scale == 4 else "-x2"
        used = "rrdb-x2" if (name, scale) == ("rrdb", 2) else network
        for stage, method, optimizer, terms in (
            ("-pretrain", "pixel", PRETRAINED, L1),
            ("-gan", "gan", CONSTANT, LDL),
            ("", "ldl", CONSTANT, LDL),
        ):
            row(f"ldl/{name}{ending}{stage}", method, used, scale, C128, 300 * K, optimizer, terms, 0.999, BICUBIC)
for name in ("rrdb-local", "rrdb-scaled", "rrdb-refined", "rrdb-div2k"):
    row(f"ldl/{name}", *ROWS["ldl/rrdb"])
row(
    "ldl/real-esrgan", "ldl", "rrdb", 4, (256, 4, "flip"), 400 * K, CONSTANT, REAL_LDL, 0.999,
    ("photos", "real-esrgan", "original"),
)  # fmt: skip
row("compact/pretrain", "pixel", "compact", *ROWS["real-esrgan/pretrain"][2:])
row("elan/pretrain", "pixel", "elan", *ROWS["hggt/rrdb-pretrain"][2:])
GENERIC = ("photos", "generic", "original")
row("esrgan/pretrain", "pixel", "rrdb", 4, C128, 1000 * K, ESRGAN_L1, L1, 0, BICUBIC)
row("esrgan/rrdb", "gan", "rrdb", 4, C128, 400 * K, ESRGAN, R, 0, BICUBIC)
row("rgan/rcan-pretrain", "pixel", "rcan", 4, C128, 1000 * K, ESRGAN_L1, L1, 0, GENERIC)
for name, terms in (("r", R), ("s", S)):
    row(f"rgan/{name}", "gan", "rcan", 4, C128, 400 * K, ESRGAN, terms, 0, GENERIC)
    for number in range(1, 5):
        data = ("pairs", None, "original")
        row(f"rgan/mobile-t{number}-{name}", "gan", "rcan", 4, C128, 400 * K, ESRGAN, terms, 0, data)
PAIRS = ("pairs", None, "original")
row("edl/pretrain", "pixel", "edl", 4, C128, 1000 * K, ESRGAN_L1, L1, 0, BICUBIC)
row("edl/pretrain-x1", "pixel", "edl", 1, C128, 1000 * K, ESRGAN_L1, L1, 0, PAIRS)
for name in ("x4-realsr", "x4-ngdc", "x4-no-ngdc", "x4-no-noise", "x4-no-mask", "ntire2020", "aim2019"):
    row(f"edl/{name}", "edl", "edl", 4, C128, 150 * K, EDL, E, 0, PAIRS)
row("edl/x1", "edl", "edl", 1, C128, 150 * K, EDL, E, 0, PAIRS)
row("edl/x4-vgg-128", "edl", "edl", 4, C128, 150 * K, EDL, (*E[:5], "vgg-128"), 0, PAIRS)
row("edl/x4-pixel-perceptual", "edl", "edl", 4, C128, 150 * K, EDL, (0.01, 1, 0, *E[3:]), 0, PAIRS)
row("edl/x4-pixel-adversarial", "gan", "edl", 4, C128, 150 * K, EDL, (0.01, None, 0.005, None, *E[4:]), 0, PAIRS)
row("edl/x4-pixel", "pixel", "edl", 4, C128, 150 * K, EDL, L1, 0, PAIRS)
for name in ("x4-single-branch", "x4-weighted-sum"):
    row(f"edl/{name}", "gan", "edl", 4, C128, 150 * K, EDL, E, 0, PAIRS)
# LocNet's own stage: no SR network, so its scale and LR are not looked at.
row(
    "adatarget/locnet", "locnet", "locnet", 1, (140, 16, "flip"), 200 * K,
    {"lr": 1e-4, "betas": (0.9, 0.999), "milestones": (), "gamma": HALF}, (0.01, None, None, None, None, None), 0,
    ("photos", "hggt-enhance-blur", "original"),
)  # fmt: skip


def test_recipes_are_those_of_the_table() -> None:
    own = ("tiny/", "bundled/")  # no paper has these
    assert {name for name in recipe_names() if not name.startswith(own)} == set(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_settings_are_those_of_the_table(name: str) -> None:
    config = load_recipe(name)
    losses, data = config.losses, config.data
    perceptual, adversarial = losses.perceptual, losses.adversarial
    terms = (
        losses.pixel,
        perceptual.weight if perceptual else None,
        adversarial.weight if adversarial else None,
        perceptual.layers if perceptual else None,
        adversarial.kind if adversarial else None,
        config.discriminator.architecture if config.discriminator else None,
    )
    found = (
        config.method,
        config.generator.architecture,
        config.scale,
        (data.crop, data.batch, data.augment),
        config.steps,
        config.optimizer.model_dump(exclude={"clip"}),
        terms,
        config.ema,
        (data.source, data.degradation, data.target),
    )
    assert found == ROWS[name]
    assert config.summary
    assert config.table
    assert "weights" not in (perceptual.model_dump(exclude_defaults=True) if perceptual else {})


def test_the_docs_list_every_recipe_with_its_row() -> None:
    text = METHODS.read_text(encoding="utf-8")
    listed = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "/" in line.split("`")[1]}
    assert listed == set(ROWS)
    for name in ROWS:
        config = load_recipe(name)
        assert f"| `{name}` | {config.summary} | {config.table} |" in text


def test_own_terms_of_the_methods() -> None:
    for name in ROWS:
        config = load_recipe(name)
        if config.method == "hggt":
            negative = config.losses.negative
            assert negative is not None
            assert (negative.weight, negative.window, negative.power) == (300, 3, 0.75)
        if config.method == "ldl":
            artifact = config.losses.artifact
            assert artifact is not None
            stage = {"ldl/rrdb-local": "local", "ldl/rrdb-scaled": "scaled"}.get(name, "refined")
            assert (artifact.weight, artifact.window, artifact.stage) == (1, 7, stage)
        moved = config.method in ("adatarget", "adatarget-gan", "locnet")
        assert (config.losses.pixel_kind, config.optimizer.clip) == (("mse", 0.1) if moved else ("l1", None))
        # LDL Table 2: averaged weights are what the last row adds; no baseline and no row before it has them.
        plain = name in ("ldl/rrdb-local", "ldl/rrdb-scaled", "ldl/rrdb-refined")
        plain |= name.startswith("ldl/") and config.method == "gan"
        assert config.weights == ("plain" if plain else "averaged")


def test_sharpened_targets_are_real_esrgans_alone() -> None:
    """REFERENCE §1.2: Real-ESRGAN, LDL's real-world row, HGGT's DF2K-OST Real-ESRGAN row; HGGT's positive rows none."""
    sharpened = set()
    for name in ROWS:
        data = load_recipe(name).data
        preset = PRESETS[data.degradation].sharpen if data.degradation else False
        if data.usm if data.usm is not None else preset:
            sharpened.add(name)
    own = {"real-esrgan/pretrain", "real-esrgan/rrdb", "ldl/real-esrgan", "compact/pretrain"}
    assert sharpened == own | {"hggt/real-esrgan-pretrain", "hggt/real-esrgan-df2kost"}


def test_rows_that_share_settings_differ_where_they_should() -> None:
    branching = {"edl/x4-single-branch": "single", "edl/x4-no-mask": "dual"}
    for name, expected in branching.items():
        assert load_recipe(name).generator.settings["branching"] == expected
    for name in ("ldl/srresnet-x2", "ldl/swinir-x2"):
        assert load_recipe(name).generator.settings == {"scale": 2}
