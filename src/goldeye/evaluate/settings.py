"""What `goldeye benchmark` is told: models, test sets, metrics, published rows. Paths are relative to the file."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from goldeye.config import Strict, parse_yaml, validate
from goldeye.errors import InvalidInput

# YAML takes a folder named 2024 or 2024-05-01 for a number and a date.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int | float | date) else value)]
Name = Annotated[Text, Field(min_length=1)]


class ModelEntry(Strict):
    """One row of the table: a network, a folder of finished results, or MATLAB's bicubic."""

    name: Name
    model: Text | None = Field(None, description="whatever `goldeye upscale -n` takes")
    results: Text | None = Field(None, description="a folder of finished results; {set} stands for the set's name")
    suffix: Text = Field("", description="of the results' names")
    bicubic: bool = False
    sets: tuple[Name, ...] | None = Field(None, description="only on these sets")
    tile: int = Field(0, ge=0)
    tile_pad: int | None = Field(None, ge=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    ensemble: bool = False
    color_fix: bool = False
    published: str | None = Field(None, description="TABLE/ROW of a paper, whose figures stand beside")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.model is not None, self.results is not None, self.bicubic]
        if sum(kinds) != 1:
            raise ValueError(f"'{self.name}' needs exactly one of model, results and bicubic")
        if self.suffix and self.results is None:
            raise ValueError(f"'{self.name}' has a suffix, which is for results")
        given = self.model_fields_set & {"tile", "tile_pad", "precision", "ensemble", "color_fix"}
        if given and self.model is None:
            raise ValueError(f"'{self.name}' has {', '.join(sorted(given))}, which is for a model")
        return self


class SetEntry(Strict):
    """One test set: HR and LR pictures, HR pictures and a degradation, or a labelled dataset."""

    name: Name
    hr: Text | None = None
    lr: Text | None = None
    degradation: Text | None = Field(None, description="a preset, or a YAML pipeline")
    seed: int = Field(0, ge=0)
    dataset: Text | None = None
    split: str | None = None
    against: str | None = Field(None, description="positives (default), original or negatives")
    published: Name | None = Field(None, description="the name under which papers give this set, if another")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.hr is None) == (self.dataset is None):
            raise ValueError(f"the set '{self.name}' needs exactly one of hr and dataset")
        if self.lr is not None and self.degradation is not None:
            raise ValueError(f"the set '{self.name}' has lr and degradation; one is enough")
        if self.seed and self.degradation is None:
            raise ValueError(f"the set '{self.name}' has a seed, which is for a degradation")
        if self.dataset is None and (self.split or self.against):
            raise ValueError(f"the set '{self.name}' has split or against, which are for a dataset")
        return self


class PatchEntry(Strict):
    """A square of a picture whose stability `goldeye benchmark curves` follows, in HR pixels."""

    name: Name
    set: Name
    picture: Name
    y: int = Field(ge=0)
    x: int = Field(ge=0)
    size: int = Field(ge=1)


class PageSettings(Strict):
    """The page: which metric orders the pictures, how many of a set it shows, the side of the crops in HR pixels."""

    sort: str | None = None
    pictures: int = Field(24, ge=1)
    crop: int = Field(88, ge=16, le=512)


def _named_lists(value: Any) -> Any:
    """A list of metrics is one table without a name."""
    return {"": value} if isinstance(value, list | tuple) else value


class BenchmarkConfig(Strict):
    """A whole benchmark."""

    models: tuple[ModelEntry, ...] = ()
    sets: tuple[SetEntry, ...] = Field(min_length=1)
    scale: int = Field(4, ge=1)
    crop_border: int | None = Field(None, ge=0, description="the scale unless given")
    metrics: Annotated[
        dict[str, Annotated[tuple[str, ...], Field(min_length=1)]], BeforeValidator(_named_lists), Field(min_length=1)
    ] = Field({"": ("psnr", "ssim", "psnr_y", "ssim_y")}, description="a list, or a name and a list for each table")
    niqe_params: Text | None = None
    published: tuple[str, ...] = Field((), description="TABLE or TABLE/ROW of the papers, as rows")
    page: PageSettings = PageSettings()
    patches: tuple[PatchEntry, ...] = ()

    @field_validator("models")
    @classmethod
    def _unlike_a_set(cls, entries: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
        for entry in entries:
            if folder_name(entry.name) in ("gt", "lr"):
                raise ValueError(f"a model cannot be called '{entry.name}', as pictures of a set are")
        return entries

    @field_validator("models", "sets", "patches")
    @classmethod
    def _unlike(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        folders: dict[str, str] = {}
        for entry in entries:
            folder = folder_name(entry.name)
            if folder in folders:
                raise ValueError(f"the names '{folders[folder]}' and '{entry.name}' are too alike")
            folders[folder] = entry.name
        return entries

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [entry.name for entry in self.sets]
        for model in self.models:
            for name in set(model.sets or ()) - set(known):
                raise ValueError(f"the model '{model.name}' names a set '{name}' that is not there")
            if model.results is not None and "{set}" not in model.results and len(model.sets or known) > 1:
                raise ValueError(
                    f"the results of '{model.name}' need {{set}} in their path, for there are several sets"
                )
        for patch in self.patches:
            if patch.set not in known:
                raise ValueError(f"the patch '{patch.name}' names a set '{patch.set}' that is not there")
        if self.page.sort is not None and self.page.sort not in self.all_metrics:
            raise ValueError(f"page.sort '{self.page.sort}' is none of the metrics")
        return self

    @property
    def border(self) -> int:
        """Pixels cropped at every side."""
        return self.scale if self.crop_border is None else self.crop_border

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Of all tables, each once."""
        return tuple(dict.fromkeys(metric for metrics in self.metrics.values() for metric in metrics))


def load_benchmark(path: Path) -> BenchmarkConfig:
    """Read a configuration. InvalidInput in one sentence for what cannot be meant."""
    if not path.is_file():
        raise InvalidInput(f"There is no configuration '{path}'.", hint="docs/benchmarks.md shows one.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"'{path}' is no text in UTF-8.") from None
    return validate(BenchmarkConfig, parse_yaml(text, str(path)), where=f"'{path}'")


def located(base: Path, text: str) -> Path:
    """A path of a configuration: `~` is the user's folder, and what is relative is so to `base`."""
    return base / Path(text).expanduser()


def folder_name(name: str) -> str:
    """What a set or a model is called on disk: letters, digits and `.+-`, all else `_`; never `_` or `.` first."""
    return re.sub(r"[^a-z0-9.+-]+", "_", name.casefold()).strip("_.") or "x"
