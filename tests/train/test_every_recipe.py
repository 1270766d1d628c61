"""Every recipe trains: two steps of each, with small networks in place of its own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from goldeye.config import TrainConfig, load_recipe, recipe_names
from goldeye.dataset.training import build_dataset
from goldeye.images import matlab_resize, write_image
from goldeye.methods import METHODS, Method
from goldeye.methods.base import Batch
from goldeye.train.engine import Engine
from training_data import noisy

RRDB = {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}
SMALL = {
    "rrdb": RRDB,
    "rrdb-x2": RRDB,
    "rrdb-ps": RRDB,
    "edl": RRDB,
    "swinir-classical": {"embed_dim": 8, "depths": [2], "num_heads": [2], "num_feat": 4, "img_size": 16},
    "rcan": {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
    "rcan-x1": {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
    "elan": {"m_elan": 2, "c_elan": 15},
    "elan-x1": {"m_elan": 2, "c_elan": 15},
    "srresnet": {"num_feat": 4, "num_block": 1},
    "compact": {"num_feat": 4, "num_conv": 1},
    "locnet": {},
    "unet-sn": {"num_feat": 2},
    "vgg-128": {"num_feat": 2},
    "patch-gan": {"num_feat": 2},
}
SIDE = 144  # of the pictures: larger than VGG-128's crop


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gt/, lr1/ and lr4/ of two pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        gt = noisy(number, SIDE + 1)[:SIDE, :SIDE]
        write_image(folder / "gt" / f"{number}.png", gt)
        write_image(folder / "lr1" / f"{number}.png", gt)
        write_image(folder / "lr4" / f"{number}.png", matlab_resize(gt, SIDE // 4, SIDE // 4))
    return folder


def small(name: str, pictures: Path, labelled: Path) -> TrainConfig:
    """The recipe with small networks and crops, on pictures that fit it."""
    whole = load_recipe(name)
    crop = 128 if whole.discriminator and whole.discriminator.architecture == "vgg-128" else 32
    if whole.generator.architecture == "elan":
        crop = 64  # its windows want sides of 16
    if whole.method in ("adatarget", "adatarget-gan", "locnet"):
        crop = 28 if whole.discriminator is None else 56
    settings = [f"data.crop={crop}", "data.batch=2"]
    for network in ("generator", "discriminator"):
        config = getattr(whole, network)
        if config is not None:
            chosen = SMALL[config.architecture] | ({"scale": 2} if config.settings.get("scale") == 2 else {})
            kept = {key: config.settings[key] for key in ("branching", "scale") if key in config.settings}
            settings.append(f"{network}.settings={chosen | kept}")
    if whole.generator.init is not None:
        settings.append("generator.init=null")  # the bundled generator, which is no small one
    if whole.losses.perceptual is not None:
        settings.append("losses.perceptual.weights=random")
    if whole.data.source == "dataset":
        settings += [f"data.path={labelled}", "data.crop=32"]
        if whole.method.startswith("adatarget"):
            settings.append("data.crop=28")
            settings.append("discriminator={architecture: patch-gan, settings: {num_feat: 2}}")
    elif whole.data.source == "pairs":
        settings += [f"data.path={pictures / 'gt'}", f"data.lr_path={pictures / f'lr{whole.scale}'}"]
    else:
        settings.append(f"data.path={pictures / 'gt'}")
    return load_recipe(name, settings)


def _kind(config: TrainConfig) -> tuple[object, ...]:
    """What makes a recipe's step another one: the rest is numbers."""
    return (
        config.method,
        config.generator.architecture,
        config.discriminator and config.discriminator.architecture,
        config.losses.adversarial and config.losses.adversarial.kind,
        config.losses.artifact and config.losses.artifact.stage,
        config.data.source,
        config.data.target,
    )


def _recipes() -> list[object]:
    """All of them; those whose kind another one has are slow."""
    first: dict[tuple[object, ...], str] = {}
    for name in recipe_names():
        first.setdefault(_kind(load_recipe(name)), name)
    return [name if name in first.values() else pytest.param(name, marks=pytest.mark.slow) for name in recipe_names()]


@pytest.mark.parametrize("name", _recipes())
def test_two_steps_of_every_recipe(name: str, pictures: Path, labelled: Path) -> None:
    config = small(name, pictures, labelled)
    torch.manual_seed(0)
    method = METHODS[config.method](config, Engine("cpu", channels_last=config.channels_last))
    data = build_dataset(config)
    before = {key: value.clone() for key, value in method.generator.network.state_dict().items()}
    for number in range(2):
        batch = torch.utils.data.default_collate([data[2 * number], data[2 * number + 1]])
        values = method.step([batch])
        assert not values["nonfinite"]
        assert all(math.isfinite(float(value)) for value in values.values())
    after = method.generator.network.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert method.pictures(batch).isfinite().all()


# --- what each term looks at ------------------------------------------------------------------------------------------


def test_sharpened_targets_are_for_the_pixel_and_the_perceptual_term(pictures: Path, labelled: Path) -> None:
    config = small("real-esrgan/rrdb", pictures, labelled)
    torch.manual_seed(0)
    method = METHODS["gan"](config, Engine("cpu"))
    data = build_dataset(config)
    batch: Batch = torch.utils.data.default_collate([data[number] for number in range(2)])
    assert not torch.equal(batch["gt"], batch["gt_usm"])
    output = method.generate(batch)

    def values(changed: Batch) -> dict[str, float]:
        terms = method.generator_terms(batch | changed, output)
        judged, _ = method.discriminator_step([batch | changed], [output.sr.detach()])
        return {name: term.value.item() for name, term in terms.items()} | {"d_real": float(judged["d_real"])}

    # Each change alone, on a fresh discriminator each time: its step changes it.
    state = {key: value.clone() for key, value in method.discriminator.network.state_dict().items()}  # type: ignore[attr-defined]

    def fresh(changed: Batch) -> dict[str, float]:
        method.discriminator.network.load_state_dict(state)  # type: ignore[attr-defined]
        return values(changed)

    plain = fresh({})
    other_sharp = fresh({"gt_usm": batch["gt_usm"].flip(3)})
    other_gt = fresh({"gt": batch["gt"].flip(3)})
    assert {name for name in plain if plain[name] != other_sharp[name]} == {"pixel", "perceptual"}
    assert {name for name in plain if plain[name] != other_gt[name]} == {"d_real"}


# --- twenty steps, pinned ---------------------------------------------------------------------------------------------

# Losses of steps 1, 5, 10, 15 and 20 on drawn batches, so that a change of a term, of its weight, of what it sees or of
# the order of updates shows.
PINNED = {
    "hggt/rrdb-pretrain": [0.5397299, 0.5829448, 0.5369124, 0.5288878, 0.5606907],
    "hggt/rrdb-original": [3.443305, 3.638179, 3.438378, 3.512066, 3.450869],
    "hggt/rrdb-posneg": [-5.972771, -5.799636, -7.729798, -6.606344, -7.786680],
    "hggt/bsrgan-df2kost": [3.543415, 3.745302, 3.534741, 3.669109, 3.602603],
    "hggt/ldl-df2kost": [2.346984, 2.470533, 2.303156, 2.443470, 2.343838],
    "adatarget/locnet": [0.01165554, 0.01257894, 0.01416585, 0.01179190, 0.01252482],
    "adatarget/rrdb-pixel": [0.3026867, 0.3465035, 0.2952247, 0.2958450, 0.3352437],
    "adatarget/rrdb-df2kost": [3.278795, 3.498862, 3.256704, 3.405211, 3.323429],
    "edl/x4-realsr": [0.1285418, 0.1312246, 0.1255528, 0.1334683, 0.1226047],
    "rgan/r": [1.392117, 1.328758, 1.336171, 1.324145, 1.281399],
}


def drawn_batch(config: TrainConfig, step: int) -> Batch:
    """Smooth pictures with noise, as numpy's frozen generator draws them."""
    random = np.random.RandomState(step)
    side, scale = config.data.crop, config.scale

    def pictures() -> Tensor:
        coarse = random.uniform(0, 1, (2, 3, 4, 4)).repeat(side // 4, axis=2).repeat(side // 4, axis=3)
        return torch.from_numpy(np.clip(coarse + random.normal(0, 0.05, coarse.shape), 0, 1).astype(np.float32))

    gt = pictures()
    batch = {"gt": gt, "lr": torch.nn.functional.avg_pool2d(gt, scale) if scale > 1 else gt * 0.9}
    if config.method == "hggt":
        batch |= {"original": gt, "negative": pictures(), "positive": (gt + 0.02).clamp(0, 1)}
        batch |= {"negative_weight": torch.tensor([1.0, 2 / 3]), "positive_weight": torch.tensor([2 / 3, 1.0])}
        batch |= {"has_negative": torch.tensor([True, True]), "has_positive": torch.tensor([True, False])}
    return batch


def curve(name: str, pictures: Path, labelled: Path) -> list[float]:
    config = small(name, pictures, labelled)
    torch.manual_seed(0)
    method: Method = METHODS[config.method](config, Engine("cpu", channels_last=True))
    losses = [float(method.step([drawn_batch(config, step)])["loss"]) for step in range(20)]
    return [losses[step - 1] for step in (1, 5, 10, 15, 20)]


@pytest.mark.parametrize("name", sorted(PINNED))
def test_twenty_steps_are_pinned(name: str, pictures: Path, labelled: Path) -> None:
    assert curve(name, pictures, labelled) == pytest.approx(PINNED[name], rel=5e-3)


def test_every_method_is_pinned() -> None:
    assert {load_recipe(name).method for name in PINNED} == set(METHODS)
