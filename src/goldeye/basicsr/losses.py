"""The loss options of BasicSR's files as a recipe's `losses`."""

from __future__ import annotations

import re
from typing import Any

from goldeye.basicsr.models import AS_HERE, Model
from goldeye.basicsr.options import Options, number_or_none, plain_number
from goldeye.losses.perceptual import LAYERS


def losses(options: Options, model: Model) -> dict[str, Any]:
    """The recipe's `losses`; InvalidInput for a GAN without its term, or for weights that are no numbers."""
    terms: dict[str, Any] = _pixel(options)
    if not model.gan:
        for key in ("perceptual_opt", "gan_opt"):
            if options.has(f"train.{key}"):
                options.refuse(f"train.{key}", "method 'pixel' has the pixel term alone: use method 'gan'")
        return terms
    perceptual = _perceptual(options)
    if perceptual is not None:
        terms["perceptual"] = perceptual
    terms["adversarial"] = _adversarial(options, model)
    artifact = artifact_key(options)
    if model.artifacts and artifact:
        terms["artifact"] = {"weight": _weight(options, artifact, "losses.artifact.weight")}
        _l1_alone(options, artifact)
    negative = negative_key(options)
    if negative:
        terms["negative"] = {"weight": abs(_weight(options, negative, "losses.negative.weight"))}
        _l1_alone(options, negative)
    return terms


def _weight(options: Options, key: str, setting: str) -> float:
    """`loss_weight` of a term, 1 unless given."""
    value = options.number(f"{key}.loss_weight", setting)
    return 1 if value is None else plain_number(value)


def _l1_alone(options: Options, key: str) -> None:
    options.ignore_if(f"{key}.type", "L1Loss", AS_HERE, "Goldeye's term is L1: L1 was taken")
    options.ignore_if(f"{key}.reduction", "mean", AS_HERE, "the sum of all pixels, not their mean: adapt the weight")


def _pixel(options: Options) -> dict[str, Any]:
    key = "train.pixel_opt"
    if not options.has(key):
        return {"pixel": 0}
    kind = options.left.get(f"{key}.type")
    terms: dict[str, Any] = {"pixel": _weight(options, key, "losses.pixel")}
    if kind in ("L1Loss", "MSELoss"):
        options.text(f"{key}.type", "losses.pixel_kind")
        if kind == "MSELoss":
            terms["pixel_kind"] = "mse"
    else:
        options.refuse(f"{key}.type", "Goldeye has L1 and MSE: L1 was taken")
    options.ignore_if(f"{key}.reduction", "mean", AS_HERE, "the sum of all pixels, not their mean: adapt the weight")
    return terms


def _perceptual(options: Options) -> dict[str, Any] | None:
    key = "train.perceptual_opt"
    if not options.has(key):
        return None
    weight = options.number(f"{key}.perceptual_weight", "losses.perceptual.weight")
    layers = _layers(options, f"{key}.layer_weights")
    options.ignore_if(f"{key}.type", "PerceptualLoss", AS_HERE, "another perceptual term: VGG19's was taken")
    options.ignore_if(f"{key}.vgg_type", "vgg19", AS_HERE, "another network than VGG19, which was taken")
    options.ignore_if(f"{key}.use_input_norm", True, AS_HERE, "ImageNet's normalisation is always on in Goldeye")
    options.ignore_if(f"{key}.range_norm", False, AS_HERE, "pictures in [-1, 1]; Goldeye's are in [0, 1]")
    options.ignore_if(f"{key}.style_weight", 0, AS_HERE, "the style term (Gram matrices), which Goldeye does not have")
    options.ignore_if(f"{key}.criterion", "l1", AS_HERE, "another distance of features than L1, which was taken")
    return {"weight": 1 if weight is None else plain_number(weight), "layers": layers} if weight != 0 else None


def _layers(options: Options, key: str) -> str:
    """`five` or `conv5_4`, whichever has the file's weights; `five`, with a note, if neither has."""
    found = {name: value for name, value in options.left.items() if name.startswith(f"{key}.")}
    if not found:
        raise options.required(key)
    for known, weights in LAYERS.items():
        if {name.removeprefix(f"{key}."): number_or_none(value) for name, value in found.items()} == weights:
            for name in found:
                options.map(name, "losses.perceptual.layers")
            return known
    has = " or ".join(f"{name}: {weights}" for name, weights in LAYERS.items())
    options.refuse(key, f"Goldeye has {has}; five was taken".replace("'", ""))
    return "five"


def _adversarial(options: Options, model: Model) -> dict[str, Any]:
    key = "train.gan_opt"
    if not options.has(key):
        raise options.required(key)
    weight = _weight(options, key, "losses.adversarial.weight")
    kind = options.left.get(f"{key}.gan_type")
    if kind == "vanilla" or (kind == "lsgan" and not model.relativistic):
        options.text(f"{key}.gan_type", "losses.adversarial.kind")
        kind = "ragan" if model.relativistic else kind
    else:
        taken = "ragan" if model.relativistic else "vanilla"
        options.refuse(f"{key}.gan_type", f"Goldeye has vanilla, lsgan and the relativistic vanilla: {taken} was taken")
        kind = taken
    options.ignore_if(f"{key}.type", "GANLoss", AS_HERE, "another GAN term; the plain one was taken")
    options.ignore_if(f"{key}.real_label_val", 1, AS_HERE, "smoothed labels; Goldeye's real label is 1")
    options.ignore_if(f"{key}.fake_label_val", 0, AS_HERE, "smoothed labels; Goldeye's fake label is 0")
    return {"weight": weight, "kind": kind}


def artifact_key(options: Options) -> str | None:
    """LDL's term."""
    return next((key for key in ("train.artifacts_opt", "train.ldl_opt") if options.has(key)), None)


def negative_key(options: Options) -> str | None:
    """HGGT's term: options whose name begins with `neg`."""
    found = (re.match(r"(train\.neg\w*)\.loss_weight$", name) for name in options.left)
    return next((match[1] for match in found if match), None)
