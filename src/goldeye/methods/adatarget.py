"""AdaTarget: LocNet learns, beside the generator, how far a patch may move before it counts as wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from goldeye.config import NetworkConfig, TrainConfig
from goldeye.errors import InvalidInput
from goldeye.losses.adaptive_target import adapted, require_whole_patches
from goldeye.methods.base import Method, Trained, build
from goldeye.methods.gan import GanMethod
from goldeye.networks import resolve_config
from goldeye.networks.weights import find_file
from goldeye.train.engine import Engine


class Mover:
    """LocNet in training: it has an optimizer of its own with the generator's settings, and is clipped on its own."""

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        assert config.locnet is not None, "checked by TrainConfig"
        network = start_locnet(config.locnet)
        self._sr_size, self._gt_size = patch_sizes(config.locnet, config.data.crop)
        self.trained = Trained(network, config.optimizer, engine, clip=config.optimizer.clip)

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """sr (B, 3, H, W) with its patches moved towards gt; in float32, also where a recipe trains in bf16."""
        return adapted(sr, gt, self.trained.network, sr_size=self._sr_size, gt_size=self._gt_size)


class AdaTargetMethod(Method):
    """The pixel stage: the pixel term (MSE in the recipes) compares the moved SR with the ground truth."""

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        super().__init__(config, engine)
        self.mover = Mover(config, engine)
        self.trained["locnet"] = self.mover.trained

    def pixel_value(self, sr: Tensor, gt: Tensor) -> Tensor:
        return super().pixel_value(self.mover(sr, gt), gt)

    def learning_from_terms(self) -> list[Trained]:
        return [self.generator, self.mover.trained]


class AdaTargetGanMethod(AdaTargetMethod, GanMethod):
    """The GAN stage: the same pixel term; the perceptual and adversarial terms see the SR as it is."""


def patch_sizes(network: NetworkConfig, crop: int) -> tuple[int, int]:
    """Sides of the SR patch and of the GT window that a recipe's LocNet looks at (7 and 9 in the paper).

    InvalidInput where the network is another one, or where they do not fit each other or the crop.
    """
    if network.architecture != "locnet":
        raise InvalidInput(f"Patches are moved by the architecture 'locnet', not by '{network.architecture}'.")
    settings = resolve_config(network.architecture, network.settings)
    sr_size, gt_size = settings["sr_size"], settings["gt_size"]
    if gt_size < sr_size or (gt_size - sr_size) % 2 or (gt_size - sr_size) // 2 >= crop:
        raise InvalidInput(f"LocNet's GT window of {gt_size} has no border of whole pixels around {sr_size}.")
    require_whole_patches((crop, crop), sr_size)
    return sr_size, gt_size


def start_locnet(network: NetworkConfig) -> nn.Module:
    """LocNet with its starting weights.

    `init` is weights of LocNet, a run that trained it alone, or a run of a later stage, in whose training state it is.
    """
    state = None if network.init is None else _trained_beside(network.init)
    if state is None:
        return build(network)
    locnet = build(network.model_copy(update={"init": None}))
    try:
        locnet.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(f"The LocNet in '{network.init}' does not fit the recipe's {network.settings}.") from error
    return locnet


def _trained_beside(init: str) -> dict[str, Tensor] | None:
    """The LocNet of the run `init`'s latest training state, None where there is no such run or no LocNet in it."""
    weights = find_file(init) if Path(init).is_dir() else None
    path = None if weights is None else weights.with_suffix(".pt")
    if path is None or not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InvalidInput(f"The training state '{path}' cannot be read, and LocNet is in it.") from error
    found: dict[str, Tensor] | None = state.get("method", {}).get("locnet", {}).get("network")
    return found
