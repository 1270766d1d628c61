"""The papers' degradations by name. Numbers: HGGT, supplement, Tables 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from goldeye.config import parse_yaml, validate
from goldeye.degrade.pipelines import Bicubic, Blur, Jpeg, Noise, Pipeline, Resize, ResizeToOutput, Step
from goldeye.errors import InvalidInput, unknown_name


def _single_stage(
    summary: str,
    *,
    radius: tuple[int, int],
    sinc: float,
    sigma: tuple[float, float],
    resize: tuple[float, float],
    gaussian: tuple[float, float],
    poisson: tuple[float, float],
    quality: tuple[int, int],
    jpeg: Literal["before_resize", "last"] = "before_resize",
    keeps_size: bool = False,
) -> Pipeline:
    """HGGT Eq. 1, I_L = [(I_H ⊗ K)↓R + V]_J, with what its settings share.

    `jpeg` "before_resize" is the order of the official code: the final resize comes after noise and JPEG. "last" is the
    equation as printed: noise and JPEG at the size of the LR picture.
    """
    blur = Blur(radius=radius, kinds={"isotropic": 0.7, "anisotropic": 0.3}, sinc=sinc, sigma=sigma)
    random_resize = Resize(directions={"down": 0.85, "same": 0.05, "up": 0.10}, range=resize)
    noise = Noise(gaussian=0.5, sigma=gaussian, poisson=poisson, grey=0.1)
    compression = Jpeg(quality=quality)
    steps: tuple[Step, ...] = (blur, random_resize, noise, compression, ResizeToOutput())
    if jpeg == "last":
        steps = (blur, random_resize, ResizeToOutput(), noise, compression)
    return Pipeline(summary=summary, steps=steps, keeps_size=keeps_size)


def _hggt(summary: str, jpeg: Literal["before_resize", "last"]) -> Pipeline:
    return _single_stage(
        summary,
        radius=(1, 4),
        sinc=0.01,
        sigma=(0.1, 1.0),
        resize=(0.8, 1.2),
        gaussian=(1, 12),
        poisson=(0.05, 0.8),
        quality=(75, 95),
        jpeg=jpeg,
    )


PRESETS = {
    "bicubic": Pipeline(summary="MATLAB bicubic, antialiased", steps=(Bicubic(),)),
    "hggt": _hggt("HGGT: SR training and Test-100, in the order of its code", "before_resize"),
    "hggt-jpeg-last": _hggt("HGGT: SR training, in the order of the paper's Eq. 1", "last"),
    "hggt-enhance-noise": _single_stage(
        "HGGT: enhancers, setting 1 (more noise)",
        radius=(1, 3),
        sinc=0.1,
        sigma=(0.1, 0.5),
        resize=(0.9, 1.1),
        gaussian=(6.5, 13),
        poisson=(0.45, 0.9),
        quality=(80, 95),
        keeps_size=True,
    ),
    "hggt-enhance-blur": _single_stage(
        "HGGT: enhancers, setting 2 (more blur)",
        radius=(1, 3),
        sinc=0.1,
        sigma=(0.5, 1.0),
        resize=(0.9, 1.1),
        gaussian=(0.5, 6.5),
        poisson=(0.05, 0.45),
        quality=(80, 95),
        keeps_size=True,
    ),
}


def get_pipeline(name_or_path: str) -> Pipeline:
    """A preset by name, or a pipeline from a YAML file (the fields of `Pipeline`); InvalidInput in one sentence."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    if not name_or_path.endswith((".yaml", ".yml")):
        raise unknown_name("preset", name_or_path, PRESETS)
    path = Path(name_or_path)
    if not path.is_file():
        raise InvalidInput(f"Pipeline file '{path}' does not exist.")
    return validate(Pipeline, parse_yaml(path.read_text(encoding="utf-8"), name_or_path), f"pipeline '{path}'")
