"""A YAML file that combines several models into one: RGAN's fusion, a weighted ensemble, or ESRGAN's interpolation.

fusion: {r: runs/r, s: runs/s}                    # weights [0.6, 0.4] and threshold 64 unless given
ensemble: [{model: a.safetensors, weight: 0.5}, {model: b.pth, weight: 0.5}]
interpolation: [{model: runs/gan, weight: 0.8}, {model: runs/psnr, weight: 0.2}]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from goldeye.config import Strict, parse_yaml, validate
from goldeye.errors import InvalidInput
from goldeye.networks import ARCHITECTURES
from goldeye.networks.weights import LoadedModel
from goldeye.upscale.fusion import FUSION_THRESHOLD, FUSION_WEIGHTS, Fusion, WeightedEnsemble

_Weight = Annotated[float, Field(ge=0)]


class FusionFile(Strict):
    """RGAN: the model trained with the relativistic GAN (r) and with the standard one (s)."""

    r: str
    s: str
    weights: tuple[_Weight, _Weight] = FUSION_WEIGHTS
    threshold: float = Field(FUSION_THRESHOLD, ge=0, le=256, description="median luma, 0..255")


class Member(Strict):
    """One model of an ensemble or an interpolation; without weights all count the same."""

    model: str
    weight: _Weight | None = None


class CombinationFile(Strict):
    """Exactly one of the three kinds."""

    fusion: FusionFile | None = None
    ensemble: Annotated[list[Member], Field(min_length=1)] | None = None
    interpolation: Annotated[list[Member], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.fusion, self.ensemble, self.interpolation].count(None) != 2:
            raise ValueError("one of 'fusion', 'ensemble' and 'interpolation' is needed")
        if len({member.weight is None for member in self.members}) > 1:
            raise ValueError("either every member has a weight or none")
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"the weights must add up to 1, not {sum(self.weights):g}")
        return self

    @property
    def members(self) -> list[Member]:
        """The models, in the order of their weights."""
        if self.fusion is not None:
            pairs = zip((self.fusion.r, self.fusion.s), self.fusion.weights, strict=True)
            return [Member(model=model, weight=weight) for model, weight in pairs]
        return self.ensemble or self.interpolation or []

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each member."""
        members = self.members
        return tuple(1 / len(members) if member.weight is None else member.weight for member in members)


def load_combination(path: Path, load: Callable[[str], LoadedModel]) -> LoadedModel:
    """The model that a YAML file describes. Paths in it are relative to it; `load` loads a member.

    Raises InvalidInput naming the file: a wrong key, members of different scales, a combination within a combination.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"'{path}' is no text in UTF-8.") from error
    file = validate(CombinationFile, parse_yaml(text, str(path)), where=f"'{path}'")
    members = []
    for name in (member.model for member in file.members):
        beside = path.parent / Path(name).expanduser()
        if beside.suffix.lower() in (".yaml", ".yml"):
            raise InvalidInput(f"'{path}' combines models; '{name}' is itself a combination.")
        members.append(load(str(beside) if beside.exists() else name))
    scales = sorted({member.scale for member in members})
    if len(scales) > 1:
        raise InvalidInput(f"'{path}' combines models of different scales ({', '.join(map(str, scales))}).")
    licences = dict.fromkeys(str(member.metadata["licence"]) for member in members if "licence" in member.metadata)
    metadata = {"licence": "; ".join(licences)} if licences else {}
    if file.interpolation is not None:
        first, pairs = members[0], zip(file.weights, members, strict=True)
        metadata["interpolation"] = ", ".join(f"{weight:g} of {member.path.name}" for weight, member in pairs)
        mixed = interpolate(members, file.weights)
        return LoadedModel(mixed, first.architecture, first.config, first.scale, metadata, path, tuple(members))
    modules = [member.module for member in members]
    module: nn.Module
    if file.fusion is not None:
        module = Fusion(*modules, weights=file.fusion.weights, threshold=file.fusion.threshold)
    else:
        module = WeightedEnsemble(modules, file.weights)
    kind = "fusion" if file.fusion else "ensemble"
    config = file.model_dump(mode="json", exclude_none=True)
    return LoadedModel(module.eval(), kind, config, scales[0], metadata, path, tuple(members))


def interpolate(models: Sequence[LoadedModel], weights: Sequence[float]) -> nn.Module:
    """ESRGAN's network interpolation (Wang et al., 2018, Section 3.4): every parameter is Σ wᵢ · parameterᵢ.

    The models are of one architecture and configuration, one trained from the other, or the result makes no pictures.
    Raises InvalidInput for other networks.
    """
    first = models[0]
    for other in models:
        if other.architecture not in ARCHITECTURES:
            raise InvalidInput(f"'{other.path}' is no architecture of Goldeye's: its weights cannot be interpolated.")
        if (other.architecture, other.config) != (first.architecture, first.config):
            raise InvalidInput(
                f"'{first.path}' and '{other.path}' are different networks: their weights cannot be interpolated."
            )
    module = copy.deepcopy(first.module)
    states = [model.module.state_dict() for model in models]
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.stack([weight * state[key] for weight, state in zip(weights, states, strict=True)]).sum(0)
            )
    return module
