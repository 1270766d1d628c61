"""A YAML file that combines several models into one: RGAN's fusion or a weighted ensemble.

fusion: {r: runs/r, s: runs/s}                    # weights [0.6, 0.4] and threshold 64 unless given
ensemble: [{model: a.safetensors, weight: 0.5}, {model: b.pth, weight: 0.5}]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import nn

from goldeye.config import Strict, parse_yaml, validate
from goldeye.errors import InvalidInput
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
    """One model of an ensemble; without weights all count the same."""

    model: str
    weight: _Weight | None = None


class CombinationFile(Strict):
    """Exactly one of the two kinds."""

    fusion: FusionFile | None = None
    ensemble: Annotated[list[Member], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.fusion is None) == (self.ensemble is None):
            raise ValueError("one of 'fusion' and 'ensemble' is needed")
        if self.ensemble is not None and len({member.weight is None for member in self.ensemble}) > 1:
            raise ValueError("either every member of an ensemble has a weight or none")
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"the weights must add up to 1, not {sum(self.weights):g}")
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each member."""
        if self.fusion is not None:
            return self.fusion.weights
        members = self.ensemble or []
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
    names = [file.fusion.r, file.fusion.s] if file.fusion else [member.model for member in file.ensemble or []]
    members = []
    for name in names:
        beside = path.parent / Path(name).expanduser()
        if beside.suffix.lower() in (".yaml", ".yml"):
            raise InvalidInput(f"'{path}' combines models; '{name}' is itself a combination.")
        members.append(load(str(beside) if beside.exists() else name))
    scales = sorted({member.scale for member in members})
    if len(scales) > 1:
        raise InvalidInput(f"'{path}' combines models of different scales ({', '.join(map(str, scales))}).")
    modules = [member.module for member in members]
    module: nn.Module
    if file.fusion is not None:
        module = Fusion(*modules, weights=file.fusion.weights, threshold=file.fusion.threshold)
    else:
        module = WeightedEnsemble(modules, file.weights)
    kind = "fusion" if file.fusion else "ensemble"
    config = file.model_dump(mode="json", exclude_none=True)
    return LoadedModel(module.eval(), kind, config, scales[0], {}, path, tuple(members))
