"""The papers' degradations by name: HGGT (supplement, Tables 1 and 2, and its code for its rows of other methods),
Real-ESRGAN, BSRGAN, RGAN. docs/degradation.md has the same numbers as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from goldeye.config import parse_yaml, validate
from goldeye.degrade import ops
from goldeye.degrade.bsrgan import CovarianceBlur, Halve, LevelNoise, MiddleResize
from goldeye.degrade.pipelines import Pipeline, RandomOrder, Share, Step
from goldeye.degrade.steps import (
    TORCH_MODES,
    Bicubic,
    Blur,
    Jpeg,
    KernelKind,
    Noise,
    Resize,
    ResizeToOutput,
    SensorNoise,
    Sinc,
)
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


def _two_stages(
    summary: str, first: tuple[Blur, Resize, Noise, Jpeg], second: tuple[Blur, Resize, Noise, Jpeg], final: Sinc
) -> Pipeline:
    """Real-ESRGAN's second-order model: the last resize, with the final sinc, and the last JPEG in random order."""
    end = RandomOrder(groups=((ResizeToOutput(modes=TORCH_MODES), final), (second[3],)))
    return Pipeline(summary=summary, steps=(*first, *second[:3], end))


_SIX_KERNELS: dict[KernelKind, float] = {
    "isotropic": 0.45,
    "anisotropic": 0.25,
    "generalized_isotropic": 0.12,
    "generalized_anisotropic": 0.03,
    "plateau_isotropic": 0.12,
    "plateau_anisotropic": 0.03,
}
_TWO_KERNELS: dict[KernelKind, float] = {"isotropic": 0.7, "anisotropic": 0.3}
_MILD_RESIZE = Resize(directions={"up": 0.1, "down": 0.85, "same": 0.05}, range=(0.9, 1.1))

_REAL_ESRGAN = _two_stages(
    "Real-ESRGAN: two stages",
    first=(
        Blur(radius=(3, 10), kinds=_SIX_KERNELS, sinc=0.1, sigma=(0.2, 3)),
        Resize(directions={"up": 0.2, "down": 0.7, "same": 0.1}, range=(0.15, 1.5)),
        Noise(gaussian=0.5, sigma=(1, 30), poisson=(0.05, 3), grey=0.4),
        Jpeg(quality=(30, 95)),
    ),
    second=(
        Blur(probability=0.8, radius=(3, 10), kinds=_SIX_KERNELS, sinc=0.1, sigma=(0.2, 1.5)),
        Resize(directions={"up": 0.3, "down": 0.4, "same": 0.3}, range=(0.3, 1.2), relative_to="output"),
        Noise(gaussian=0.5, sigma=(1, 25), poisson=(0.05, 2.5), grey=0.4),
        Jpeg(quality=(30, 95)),
    ),
    final=Sinc(probability=0.8, radius=(3, 10)),
)

# The final sinc has the sizes of the second stage, as in HGGT's code.
_HGGT_TWO_STAGE = _two_stages(
    "HGGT: two moderate stages, for its Real-ESRGAN rows",
    first=(
        Blur(radius=(1, 3), kinds=_TWO_KERNELS, sinc=0.01, sigma=(0.1, 0.6)),
        _MILD_RESIZE,
        Noise(gaussian=0.5, sigma=(1, 8), poisson=(0.05, 0.5), grey=0.2),
        Jpeg(quality=(85, 95)),
    ),
    second=(
        Blur(probability=0.8, radius=(1, 2), kinds=_TWO_KERNELS, sinc=0.01, sigma=(0.1, 0.4)),
        _MILD_RESIZE.model_copy(update={"relative_to": "output"}),
        Noise(gaussian=0.5, sigma=(0, 4), poisson=(0, 0.3), grey=0.2),
        Jpeg(quality=(87, 95)),
    ),
    final=Sinc(probability=0.1, radius=(1, 2)),
)


def _bsrgan(
    summary: str, *, blur: CovarianceBlur, middle: MiddleResize, level: tuple[int, int], quality: tuple[int, int]
) -> Pipeline:
    """Perhaps half the size, then two blurs, two resizes (in this order), noise and JPEG shuffled, and a last JPEG.

    The seventh step of the paper, a camera's processing with probability .25, is optional there and left out here.
    """
    shuffled = RandomOrder(
        groups=(
            (blur,),
            (blur,),
            (middle,),
            (ResizeToOutput(modes=_OPENCV_MODES, clip=True),),
            (LevelNoise(level=level),),
            (Jpeg(probability=0.9, quality=quality),),
        ),
        keep=(2, 3),
    )
    steps: tuple[Step, ...] = (Halve(probability=0.25, modes=_OPENCV_MODES), shuffled, Jpeg(quality=quality))
    return Pipeline(summary=summary, steps=steps, scales=(2, 4))


_OPENCV_MODES: tuple[ops.Mode, ...] = ("bilinear", "bicubic", "opencv_area")

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
    "hggt-two-stage": _HGGT_TWO_STAGE,
    "real-esrgan": _REAL_ESRGAN,
    "bsrgan": _bsrgan(
        "BSRGAN",
        blur=CovarianceBlur(anisotropic=0.5, radius=(3, 12), eigenvalue=(4, 1), sigma=(2, 0.2)),
        middle=MiddleResize(
            divisor=(0, 2), modes=_OPENCV_MODES, shifted=0.25, radius=(12, 12), sigma_lowest=0.1, sigma=(0, 0.6)
        ),
        level=(2, 25),
        quality=(30, 95),
    ),
    "hggt-bsrgan": _bsrgan(
        "HGGT: moderate BSRGAN, for its BSRGAN rows",
        blur=CovarianceBlur(anisotropic=0.3, radius=(1, 4), eigenvalue=(0.2, 0.2), sigma=(0.2, 0.2)),
        middle=MiddleResize(
            divisor=(1 / 0.85, 0), modes=_OPENCV_MODES, shifted=0.25, radius=(1, 4), sigma_lowest=0.1, sigma=(0, 0.25)
        ),
        level=(1, 12),
        quality=(75, 95),
    ),
    "generic": Pipeline(
        summary="RGAN: the generic set",
        steps=(
            Blur(radius=(7, 7), kinds={"isotropic": 1}, sinc=0, sigma=(0.2, 3)),
            ResizeToOutput(modes=("nearest", "bilinear", "bicubic", "lanczos")),
            SensorNoise(
                kinds={"gaussian": 1 / 3, "poisson": 1 / 3, "poisson_gaussian": 1 / 3},
                sigma=(0, 25),
                peak=(50, 150),
                mixed_sigma=(0, 5),
            ),
        ),
    ),
}


PRESETS["goldeye"] = Pipeline(
    summary="the bundled models: HGGT's in both orders, and clean pictures",
    mixture=tuple(
        Share(share=share, pipeline=PRESETS[name])
        for name, share in (("hggt", 0.5), ("hggt-jpeg-last", 0.3), ("bicubic", 0.2))
    ),
)


def _preset(name: str) -> Pipeline:
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def get_pipeline(name_or_path: str) -> Pipeline:
    """A preset by name, or a pipeline from a YAML file; InvalidInput in one sentence.

    The file has the fields of `Pipeline`; with `extends: PRESET` only those that differ from the preset's. A `mixture`
    is {preset: share} there.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    if not name_or_path.endswith((".yaml", ".yml")):
        raise unknown_name("preset", name_or_path, PRESETS)
    path = Path(name_or_path)
    if not path.is_file():
        raise InvalidInput(f"Pipeline file '{path}' does not exist.")
    values = parse_yaml(path.read_text(encoding="utf-8"), name_or_path)
    if "extends" in values:
        values = _preset(str(values.pop("extends"))).model_dump() | values
    if isinstance(values.get("mixture"), dict):
        shares = {str(name): share for name, share in values["mixture"].items()}
        values["mixture"] = [{"share": share, "pipeline": _preset(name).model_dump()} for name, share in shares.items()]
        first = _preset(next(iter(shares), ""))
        values = {"keeps_size": first.keeps_size, "scales": first.scales} | values
    return validate(Pipeline, values, f"pipeline '{path}'")
