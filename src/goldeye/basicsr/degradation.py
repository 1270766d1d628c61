"""Real-ESRGAN's degradation keys, in one stage (HGGT) or two, as a pipeline of Goldeye."""

from __future__ import annotations

from typing import Any

from goldeye.basicsr.options import Options, plain_number
from goldeye.config import validate
from goldeye.degrade import PRESETS, Pipeline

# Real-ESRGAN's kernels have 7 to 21 pixels; its code has these numbers, not its files.
_REAL_ESRGAN_SIZE, _REAL_ESRGAN_RADIUS = 21, [3, 10]
_KINDS = {
    "iso": "isotropic",
    "aniso": "anisotropic",
    "generalized_iso": "generalized_isotropic",
    "generalized_aniso": "generalized_anisotropic",
    "plateau_iso": "plateau_isotropic",
    "plateau_aniso": "plateau_anisotropic",
}
_PLACES = ("", "degradation.", "datasets.train.", "train.")  # forks move these keys about
_SETTING = "data.degradation"


_BLUR = ("blur_kernel_size", "kernel_list", "kernel_prob", "sinc_prob", "blur_sigma", "betag_range", "betap_range")
_OTHERS = (
    *("resize_prob", "resize_range", "gaussian_noise_prob", "noise_range", "poisson_scale_range"),
    *("gray_noise_prob", "jpeg_range"),
)


def ignore(options: Options, reason: str) -> None:
    """Note all keys of a degradation as without effect."""
    stages = [key + stage for key in (*_BLUR, *_OTHERS) for stage in ("", "2")]
    for key in (*stages, "second_blur_prob", "final_sinc_prob"):
        for place in _PLACES:
            options.ignore(place + key, reason)


def has_degradation(options: Options) -> bool:
    """Whether the file says how LR pictures are made."""
    return any(options.has(f"{place}resize_prob") for place in _PLACES)


def pipeline(options: Options, *, keeps_size: bool) -> tuple[str | None, dict[str, Any]]:
    """The name of the preset that the file's degradation is exactly, if it is one, and the fields of its pipeline.

    Raises InvalidInput naming a key that is absent or wrong.
    """
    steps: list[dict[str, Any]] = [_blur(options, ""), _resize(options, ""), _noise(options, ""), _jpeg(options, "")]
    if any(options.has(f"{place}resize_prob2") for place in _PLACES):
        second = _blur(options, "2")
        steps += [second | {"probability": _one(options, "second_blur_prob")}]
        steps += [_resize(options, "2") | {"relative_to": "output"}, _noise(options, "2")]
        final = {"step": "sinc", "probability": _one(options, "final_sinc_prob"), "radius": second["radius"]}
        end = {"step": "resize_to_output", "modes": ["area", "bilinear", "bicubic"]}
        steps += [{"step": "random_order", "groups": [[end, final], [_jpeg(options, "2")]]}]
    else:
        steps += [{"step": "resize_to_output"}]
    found: dict[str, Any] = {"summary": f"from {options.source}"} | ({"keeps_size": True} if keeps_size else {})
    found["steps"] = steps
    made = validate(Pipeline, found, where=f"'{options.source}' (its degradation)")
    for name, preset in PRESETS.items():
        if preset == made.model_copy(update={"summary": preset.summary}):
            return name, found
    return None, found


def _key(options: Options, name: str) -> str:
    """Where the file has the key; InvalidInput if nowhere."""
    found = next((place + name for place in _PLACES if options.left.get(place + name) is not None), None)
    if found is None:
        raise options.required(f"'{name}', which its degradation needs")
    for place in _PLACES:
        if place + name != found:
            options.ignore(place + name, f"{found} is what counts")
    return found


def _one(options: Options, name: str) -> float:
    key = _key(options, name)
    value = options.number(key, _SETTING)
    assert value is not None, "found by _key"
    return plain_number(value)


def _list(options: Options, name: str, length: int | None = None) -> list[float]:
    key = _key(options, name)
    values = options.numbers(key, _SETTING) or []
    if length is not None and len(values) != length:
        raise options.wrong(key, f"{length} numbers", values)
    return [plain_number(value) for value in values]


def _shares(options: Options, key: str, names: list[str], values: list[float]) -> dict[str, float]:
    """Weights by name that add up to 1, as `random.choices` takes them."""
    total = sum(values)
    if len(names) != len(values) or len(set(names)) != len(names) or min(values) < 0 or total <= 0:
        raise options.wrong(key, f"{len(names)} probabilities", values)
    exact = abs(total - 1) < 1e-9
    return {name: value if exact else value / total for name, value in zip(names, values, strict=True)}


def _blur(options: Options, stage: str) -> dict[str, Any]:
    list_key, share_key = _key(options, f"kernel_list{stage}"), _key(options, f"kernel_prob{stage}")
    names = options.map(list_key, _SETTING)
    if not isinstance(names, list) or not names or not all(str(name) in _KINDS for name in names):
        raise options.wrong(list_key, f"a list of {', '.join(_KINDS)}", names)
    kinds = _shares(
        options, share_key, [_KINDS[str(name)] for name in names], _list(options, f"kernel_prob{stage}") or [-1]
    )
    found: dict[str, Any] = {"step": "blur", "radius": _radius(options, stage), "kinds": kinds}
    found |= {"sinc": _one(options, f"sinc_prob{stage}"), "sigma": _list(options, f"blur_sigma{stage}", 2)}
    for key, setting in (("betag_range", "generalized_beta"), ("betap_range", "plateau_beta")):
        if any(options.has(place + key + stage) for place in _PLACES):
            found[setting] = _list(options, key + stage, 2)
    return found


def _radius(options: Options, stage: str) -> list[int]:
    """[smallest, largest] m of the kernels' sizes 2m+1."""
    key = _key(options, f"blur_kernel_size{stage}")
    size = options.left[key]
    if size == _REAL_ESRGAN_SIZE:
        options.integer(key, _SETTING)
        return _REAL_ESRGAN_RADIUS
    options.refuse(
        key,
        "the largest kernel; the smallest is in the training code, not here: 3 was taken, as in HGGT "
        "(Real-ESRGAN's own code has sizes 7 to 21 whatever stands here)",
    )
    if not isinstance(size, int) or size < 3 or size % 2 == 0:
        raise options.wrong(key, "an odd size of 3 or more", size)
    return [1, (size - 1) // 2]


def _resize(options: Options, stage: str) -> dict[str, Any]:
    key = _key(options, f"resize_prob{stage}")
    shares = _shares(options, key, ["up", "down", "same"], _list(options, f"resize_prob{stage}", 3))
    return {"step": "resize", "directions": shares, "range": _list(options, f"resize_range{stage}", 2)}


def _noise(options: Options, stage: str) -> dict[str, Any]:
    return {
        "step": "noise",
        "gaussian": _one(options, f"gaussian_noise_prob{stage}"),
        "sigma": _list(options, f"noise_range{stage}", 2),
        "poisson": _list(options, f"poisson_scale_range{stage}", 2),
        "grey": _one(options, f"gray_noise_prob{stage}"),
    }


def _jpeg(options: Options, stage: str) -> dict[str, Any]:
    return {"step": "jpeg", "quality": _list(options, f"jpeg_range{stage}", 2)}
