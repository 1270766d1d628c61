"""Typed training configuration: strict models, recipes with `extends:`, `--set a.b=v`, one-sentence errors."""

from __future__ import annotations

import copy
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from goldeye.errors import InvalidInput, unknown_name

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Frozen; an unknown key is an error, and so are NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkConfig(Strict):
    """A network: a named architecture, overrides of its full configuration, and weights to start from."""

    architecture: str = Field(
        description="a name of `goldeye models list`, or community: what spandrel finds in `init`"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="overrides of the architecture's configuration")
    init: str | None = Field(None, description="weights to start from: a file, a run folder or a model's name")

    @model_validator(mode="after")
    def _community_needs_weights(self) -> Self:
        if self.architecture == "community" and (self.init is None or self.settings):
            raise ValueError("architecture 'community' is the network of a weights file: set init, and no settings")
        return self


def _as_paths(value: Any) -> Any:
    """YAML takes folders named 2024 or 2024-05-01 for a number and a date."""
    if isinstance(value, dict):
        raise ValueError("a path is expected, or a list of paths")
    if isinstance(value, (list, tuple)):
        return tuple(str(one) for one in value)
    return value if value is None else str(value)


_File = Annotated[Path | None, BeforeValidator(_as_paths)]
_Folders = Annotated[Path | Annotated[tuple[Path, ...], Field(min_length=1)] | None, BeforeValidator(_as_paths)]


def _tuple(paths: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    return () if paths is None else paths if isinstance(paths, tuple) else (paths,)


class DataConfig(Strict):
    """What the samples are made of. A sample depends on (seed, sample number) alone."""

    path: _Folders = Field(
        None, description="a folder of photos, several, a dataset of patch groups, or what `goldeye pack` made"
    )
    source: Literal["photos", "pairs", "dataset"] = "photos"
    lr_path: _Folders = Field(None, description="of pairs: the LR pictures, named as those of data.path")
    meta_info: _File = Field(None, description="a text file with the pictures to use, a line each")
    target: Literal["original", "positive", "positive+negative"] = "original"
    split: str | None = Field(None, description="of a dataset with splits; train unless given")
    min_votes: int = Field(1, ge=1, description="votes a candidate of a dataset needs for its label to count")
    degradation: str | None = Field(None, description="a preset or a YAML pipeline (hggt); pairs have none")
    usm: bool | None = Field(None, description="LR and gt_usm of the sharpened GT; unless given, as the preset says")
    noise_bank: _File = Field(None, description="a bank whose noise is added to the LR pictures (EDL Eq. 11)")
    crop: int = Field(256, ge=16, description="side of the GT crop in pixels")
    batch: int = Field(12, ge=1)
    augment: Literal["none", "flip", "flip+rotate"] = "flip"
    workers: int = Field(0, ge=0)

    @property
    def paths(self) -> tuple[Path, ...]:
        """`path` as a tuple, empty where there is none."""
        return _tuple(self.path)

    @property
    def lr_paths(self) -> tuple[Path, ...]:
        """`lr_path` as a tuple, empty where there is none."""
        return _tuple(self.lr_path)

    @model_validator(mode="before")
    @classmethod
    def _default_degradation(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("source") != "pairs":
            return {"degradation": "hggt"} | values
        return values

    @model_validator(mode="after")
    def _degrades_what_has_no_lr(self) -> Self:
        if self.source == "pairs" and self.degradation is not None:
            raise ValueError("pairs have their LR pictures: data.degradation must be null")
        if self.source != "pairs" and self.degradation is None:
            raise ValueError(f"source '{self.source}' needs data.degradation")
        return self

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if self.source != "dataset" and self.target != "original":
            raise ValueError(f"target '{self.target}' needs labels: set data.source to 'dataset'")
        if self.source != "dataset" and self.split is not None:
            raise ValueError(f"source '{self.source}' has no splits: data.split is for datasets")
        if self.target == "original" and self.min_votes != 1:
            raise ValueError("target 'original' takes every group: data.min_votes is for targets with labels")
        if self.source != "pairs" and self.lr_path is not None:
            raise ValueError("data.lr_path is for pairs: set data.source to 'pairs'")
        if self.source == "dataset" and self.meta_info is not None:
            raise ValueError("data.meta_info is for photos and pairs")
        if self.lr_paths and len(self.paths) != len(self.lr_paths):
            raise ValueError(f"{len(self.paths)} folders of GT and {len(self.lr_paths)} of LR pictures do not pair up")
        if self.source == "dataset" and len(self.paths) > 1:
            raise ValueError("source 'dataset' takes one dataset as data.path")
        return self


class PerceptualConfig(Strict):
    """VGG19 features before ReLU, L1 (REFERENCE §3)."""

    weight: float = Field(1.0, ge=0)
    layers: Literal["five", "conv5_4"] = "five"
    weights: Literal["imagenet", "random"] = "imagenet"


class AdversarialConfig(Strict):
    """The GAN term; `ragan` is the relativistic average GAN of ESRGAN."""

    weight: float = Field(0.1, ge=0)
    kind: Literal["vanilla", "ragan", "lsgan"] = "vanilla"


def _odd_side(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"the window needs a middle pixel: an odd side, not {value}")
    return value


class NegativeConfig(Strict):
    """HGGT Eq. 3-5: weight delta, window and power a of the residual variation map."""

    weight: float = Field(300.0, ge=0)
    window: int = Field(3, ge=3)
    power: float = Field(0.75, gt=0)
    vote_weighting: bool = Field(True, description="scale each map by the share of people who gave the label")

    _odd = field_validator("window")(_odd_side)


class ArtifactConfig(Strict):
    """LDL Eq. 2-8: weight beta, and how far the map is worked out (Table 2: M, sigma M, M_refine)."""

    weight: float = Field(1.0, ge=0)
    stage: Literal["local", "scaled", "refined"] = "refined"
    window: int = Field(7, ge=3)
    residual: Literal["absolute", "signed"] = Field("absolute", description="the official code's, or the paper's Eq. 2")
    detach_map: bool = Field(False, description="no gradient through the map (the official code has it)")

    _odd = field_validator("window")(_odd_side)


class LossConfig(Strict):
    """The generator's terms; an absent term is not computed."""

    pixel: float = Field(1.0, ge=0)
    pixel_kind: Literal["l1", "mse"] = "l1"
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    negative: NegativeConfig | None = None
    artifact: ArtifactConfig | None = None


class OptimizerConfig(Strict):
    """Adam, with the rate multiplied by `gamma` at each milestone (in steps)."""

    lr: float = Field(1e-4, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    gamma: float = Field(0.5, gt=0)
    clip: float | None = Field(None, gt=0, description="norm that the generator's gradients are clipped to")


class NonFiniteConfig(Strict):
    """What follows steps whose loss or gradient is not finite; each is left out, and its batch kept."""

    limit: int = Field(5, ge=1, description="such steps in a row that are too many")
    action: Literal["stop", "rollback"] = Field(
        "stop", description="then stop, or go back to the last checkpoint with a lower rate"
    )
    factor: float = Field(0.5, gt=0, lt=1, description="of the rates, at each going back")
    rollbacks: int = Field(3, ge=1, description="goings back before the run stops after all")


class ValidationSet(Strict):
    """Pictures to look at during training: pairs, or ground truth and the degradation that makes its LR."""

    gt: Path
    lr: Path | None = Field(None, description="folder of LR pictures of the same names")
    degradation: str | None = Field(None, description="preset that makes the LR pictures, seeded; without `lr`")

    @model_validator(mode="after")
    def _one_source_of_lr(self) -> Self:
        if (self.lr is None) == (self.degradation is None):
            raise ValueError("a validation set has either lr or degradation")
        return self


class ValidationConfig(Strict):
    """Metrics on named sets while training; the checkpoint that is best by each is kept."""

    sets: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], ValidationSet] = Field(min_length=1)
    metrics: tuple[str, ...] = Field(("psnr_y", "ssim_y"), min_length=1)
    every: int = Field(5000, ge=1)
    pictures: int = Field(4, ge=0, description="pictures a set that are saved each time")


class TrainConfig(Strict):
    """A whole training run."""

    summary: str = ""
    table: str = Field("", description="the paper's table and row that this recipe is")
    method: Literal["pixel", "gan", "hggt", "ldl", "locnet", "adatarget", "adatarget-gan", "edl"]
    scale: int = Field(4, ge=1)
    steps: int = Field(ge=1)
    seed: int = Field(0, ge=0, lt=2**63)
    generator: NetworkConfig
    discriminator: NetworkConfig | None = None
    locnet: NetworkConfig | None = Field(None, description="AdaTarget's network that moves patches")
    data: DataConfig
    losses: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights; 0 switches them off")
    weights: Literal["averaged", "plain"] = Field("averaged", description="which weights are saved for use")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one update")
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = Field(True, description="memory layout of pictures; faster convolutions")
    compile: bool = Field(False, description="compile the networks first (torch.compile)")
    log_every: int = Field(100, ge=1)
    checkpoint_every: int = Field(5000, ge=1)
    keep_checkpoints: int = Field(3, ge=1)
    nonfinite: NonFiniteConfig = NonFiniteConfig()
    validation: ValidationConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts = _PARTS[self.method]
        for name, setting in (
            ("losses.perceptual", self.losses.perceptual),
            ("losses.adversarial", self.losses.adversarial),
            ("losses.negative", self.losses.negative),
            ("losses.artifact", self.losses.artifact),
            ("discriminator", self.discriminator),
            ("locnet", self.locnet),
        ):
            if setting is None and name in parts and name not in _OPTIONAL:
                raise ValueError(f"method '{self.method}' needs {name}")
            if setting is not None and name not in parts:
                raise ValueError(f"method '{self.method}' has no {name}")
        losses = (self.losses.perceptual, self.losses.adversarial, self.losses.negative, self.losses.artifact)
        if self.losses.pixel == 0 and self.method != "locnet" and not any(term and term.weight for term in losses):
            raise ValueError("no term of the loss has a weight")
        if self.method == "hggt" and self.data.target != "positive+negative":
            raise ValueError("method 'hggt' trains on data.target 'positive+negative'")
        if self.losses.artifact is not None and self.losses.artifact.stage == "refined" and not self.ema:
            raise ValueError("the refined artifact map compares with averaged weights: set ema above 0")
        if self.data.crop % self.scale:
            raise ValueError(f"data.crop {self.data.crop} is not a multiple of the scale {self.scale}")
        return self


_GAN = {"losses.perceptual", "losses.adversarial", "discriminator"}
_OPTIONAL = {"losses.perceptual"}
# What each method uses beside the generator, its data and the pixel term.
_PARTS: dict[str, set[str]] = {
    "pixel": set(),
    "gan": _GAN,
    "hggt": _GAN | {"losses.negative"},
    "ldl": _GAN | {"losses.artifact"},
    "locnet": set(),
    "adatarget": {"locnet"},
    "adatarget-gan": _GAN | {"locnet"},
    "edl": _GAN,
}

# Settings that may differ between a run and its continuation: they do not change what a step computes.
FREE_ON_RESUME = frozenset(
    {
        "summary",
        "table",
        "steps",
        "weights",
        "channels_last",
        "compile",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "nonfinite",
        "validation",
        "data.workers",
    }
)


def recipe_names() -> list[str]:
    """Names of the shipped recipes, such as `hggt/rrdb-posneg`."""
    return sorted(_shipped())


def _shipped() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for folder in resources.files("goldeye").joinpath("recipes").iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                if file.name.endswith(".yaml"):
                    found[f"{folder.name}/{file.name.removesuffix('.yaml')}"] = file
    return found


def load_recipe(name_or_path: str, settings: list[str] | None = None) -> TrainConfig:
    """Resolve a recipe: its `extends:` chain, then each `a.b=value` of `settings`, then validation.

    Raises InvalidInput with one sentence: unknown recipe or key (nearest name), wrong value, cyclic `extends:`.
    """
    data = _load_chain(name_or_path, ())
    for setting in settings or []:
        _apply(data, setting)
    return validate(TrainConfig, data, where=f"recipe '{name_or_path}'")


def _load_chain(name_or_path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name_or_path in seen:
        raise InvalidInput(f"Recipe '{name_or_path}' extends itself through {' -> '.join((*seen, name_or_path))}.")
    shipped = _shipped()
    if name_or_path in shipped:
        text = shipped[name_or_path].read_text(encoding="utf-8")
    elif name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        if not path.is_file():
            raise InvalidInput(f"Recipe file '{path}' does not exist.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"Recipe file '{path}' is not UTF-8 text.") from error
    else:
        raise unknown_name("recipe", name_or_path, shipped)
    data = parse_yaml(text, name_or_path)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    beside = Path(name_or_path).parent / str(parent)
    if name_or_path not in shipped and str(parent).endswith((".yaml", ".yml")) and beside.is_file():
        parent = beside
    return merge(_load_chain(str(parent), (*seen, name_or_path)), data)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping; anything else is one sentence naming `where`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise InvalidInput(f"'{where}' is not valid YAML{line}.") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"'{where}' should hold YAML settings (key: value), but does not.")
    return data


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`change` over `base`, mapping by mapping; `null` removes what `base` had."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _apply(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set takes KEY=VALUE, such as data.batch=4; got '{setting}'.")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise InvalidInput(f"The value of --set {key} is not valid YAML: '{text}'.") from error
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        if not isinstance(place.get(parent), dict):
            place[parent] = {}
        place = place[parent]
    place[last] = value


def validate(model: type[M], data: dict[str, Any], where: str) -> M:
    """Build `model` from `data`; the first problem becomes one sentence that names the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _one_sentence(error, model, where) from error


def _one_sentence(error: ValidationError, model: type[BaseModel], where: str) -> InvalidInput:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        wrong = unknown_name("setting", key, _known_keys(model))
        return InvalidInput(f"In {where}: {wrong.message}", hint=wrong.hint)
    if first["type"] == "missing":
        return InvalidInput(f"In {where}: setting '{key}' is missing.")
    shape = {"model_type": "settings (key: value)", "dict_type": "settings (key: value)", "tuple_type": "a list"}
    if first["type"] in shape:
        return InvalidInput(
            f"In {where}: setting '{key}' should hold {shape[first['type']]}, not {first['input']!r:.40}."
        )
    message = first["msg"].removeprefix("Value error, ").removesuffix(".")
    at = f" ({key})" if key else ""
    return InvalidInput(f"In {where}: {message}{at}.")


def _known_keys(model: type[BaseModel], prefix: str = "", above: tuple[type[BaseModel], ...] = ()) -> list[str]:
    keys: list[str] = []
    above = (*above, model)
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            # A model may hold its own kind: a mixture of degradations has shares that are degradations.
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in above:
                keys.extend(_known_keys(part, f"{prefix}{name}.", above))
    return keys


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def differing_keys(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Keys in which two configurations differ, those aside that a continued run may change."""
    left, right = flatten(one.model_dump(mode="json")), flatten(other.model_dump(mode="json"))
    return sorted(
        key for key in left.keys() | right.keys() if left.get(key) != right.get(key) and not _free_on_resume(key)
    )


def _free_on_resume(key: str) -> bool:
    return key in FREE_ON_RESUME or key.partition(".")[0] in FREE_ON_RESUME


def to_yaml(config: BaseModel) -> str:
    """The fully resolved configuration as YAML."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text
