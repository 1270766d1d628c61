"""Models in other programs' formats: ONNX, safetensors, BasicSR's `.pth`. The file's ending decides."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from goldeye import __version__
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.files import atomic_path
from goldeye.networks import ARCHITECTURES, resolve_config
from goldeye.networks.blocks import pad_to
from goldeye.networks.infer import infer_architecture
from goldeye.networks.weights import (
    CommunityNetwork,
    LoadedModel,
    read_state,
    require_picture_network,
    save_weights,
)

ENDINGS = (".onnx", ".safetensors", ".pth")
OPSET = 18
# (B, H, W) of the comparison with torch. Odd, because even sizes hide what goes wrong with padding and cropping.
CHECKED = ((1, 37, 53), (2, 21, 45), (1, 63, 29))
# Largest accepted difference from torch: a quarter of a step of 8 bit. Both compute in float32, in different orders;
# where torch itself is further than that from float64, twice its own error.
TOLERANCE = 1e-3


def check_output(path: Path) -> str:
    """The ending of a file to export to. Raises InvalidInput for one that names no format, or is a folder's."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InvalidInput(f"'{path}' must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}: that names its format.")
    if path.is_dir():
        raise InvalidInput(f"'{path}' is a folder; a file is needed.")
    return ending


def export_model(model: LoadedModel, path: Path) -> dict[str, Any]:
    """Write the model to `path` in the format that its ending names, whole or not at all; an older file is replaced.

    `.safetensors` and `.pth` (`{"params": …}`) carry the state dict under its official key names. `.onnx` is a graph in
    opset 18 from `image` (batch, 3, height, width), RGB in [0, 1], to `result` (batch, 3, height·scale, width·scale),
    not clipped for our networks; it takes any size and is compared with torch on three before it is put in place.
    Returns the path, format and parameters, for ONNX also opset, the sizes compared and the largest difference.
    Raises InvalidInput for another ending, for a network that ONNX cannot express, for a combination of models in
    another format, and for settings that a `.pth` would lose.
    """
    ending = check_output(path)
    combined = model.architecture not in ARCHITECTURES and not isinstance(model.module, CommunityNetwork)
    # RGAN's fusion decides by the whole result, which one pass of a network cannot; a weighted ensemble is one graph.
    if combined and (ending != ".onnx" or model.architecture == "fusion"):
        raise InvalidInput(f"'{model.path}' combines several models ({model.architecture}): export each by itself.")
    written: dict[str, Any] = {"path": str(path), "format": ending[1:]}
    written["parameters"] = sum(p.numel() for p in model.module.parameters())
    if "licence" in model.metadata:
        written["licence"] = model.metadata["licence"]
    if ending == ".onnx":
        return written | _export_onnx(model, path)
    # A community network's module may name its tensors in its own way: the file's are the ones that others read.
    module = model.module
    state = read_state(model.path, module.prefix) if isinstance(module, CommunityNetwork) else module.state_dict()
    state = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    if ending == ".pth":
        if not isinstance(module, CommunityNetwork):
            _require_plain(model, state)
        with atomic_path(path) as temporary:
            torch.save({"params": state}, temporary)
    elif not isinstance(module, CommunityNetwork):
        own = ("format", "architecture", "config", "scale", "parameters")
        extra = {key: value for key, value in model.metadata.items() if key not in own}
        save_weights(path, module, architecture=model.architecture, config=model.config, scale=model.scale, extra=extra)
    else:
        with atomic_path(path) as temporary:
            save_file(state, temporary)
    return written


# What `infer_architecture` gives the usual value where no key shows it.
_GUESSED = ("act_type", "img_range")


def _require_plain(model: LoadedModel, state: dict[str, Tensor]) -> None:
    """Refuse a network that is another one when only its tensors are known, as in a `.pth`."""
    lost = "its settings"
    inferred = infer_architecture(state)
    if inferred is not None:
        architecture, shown = inferred
        read = resolve_config(architecture, shown)
        # Of what the keys do show only the form may differ (a ratio, say): the tensors fit.
        hidden = [name for name in model.config if name not in shown or name in _GUESSED]
        lost = ", ".join(f"{name} {model.config[name]}" for name in hidden if read.get(name) != model.config[name])
        if not lost and ARCHITECTURES[architecture].network == ARCHITECTURES[model.architecture].network:
            return
    raise InvalidInput(
        f"'{model.path}' cannot be written as .pth, which does not tell the network's settings: "
        f"{lost or model.architecture} would be lost.",
        hint="Export it as .safetensors or .onnx.",
    )


class AnySize(nn.Module):
    """A network that takes (B, 3, H, W) of any size: padded as `pad_to` does, the result cropped.

    Each side becomes a multiple of `multiple` and at least `minimum` (itself such a multiple).
    """

    def __init__(self, network: nn.Module, scale: int, multiple: int, minimum: int, clip: bool) -> None:
        super().__init__()
        self.network, self.scale, self.clip = network, scale, clip
        self.multiple, self.minimum = multiple, -(-minimum // multiple) * multiple

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = image
        if self.multiple > 1 or self.minimum > 1:
            padded = pad_to(image, self._padded(height), self._padded(width))
        result: Tensor = self.network(padded)
        result = result[..., : height * self.scale, : width * self.scale]
        return result.clamp(0, 1) if self.clip else result

    def _padded(self, size: int) -> Any:
        side = (size + self.multiple - 1) // self.multiple * self.multiple
        return torch.sym_max(side, self.minimum) if self.minimum > self.multiple else side


def _any_size(model: LoadedModel) -> AnySize:
    """The model's network on the CPU in float32, ready to be traced."""
    module = model.module
    if isinstance(module, CommunityNetwork):
        needs = module.descriptor.size_requirements
        network = copy.deepcopy(module.network)
        wrapped = AnySize(network, model.scale, needs.multiple_of or 1, needs.minimum or 1, clip=True)
    else:
        multiple = int(getattr(module, "size_multiple", 1))
        wrapped = AnySize(copy.deepcopy(module), model.scale, multiple, 1, clip=False)
    return wrapped.cpu().float().eval()


def _export_onnx(model: LoadedModel, path: Path) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401  torch's exporter needs it

    device = next((str(p.device) for p in model.module.parameters()), "cpu")
    require_picture_network(model, device)
    network = _any_size(model)
    batch, height, width = CHECKED[1]
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (_noise(batch, height, width),),
                dynamo=True,
                input_names=["image"],
                output_names=["result"],
                dynamic_shapes=(free,),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter lets through whatever the network's own code raises under it
        reason = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise InvalidInput(
            f"{model.architecture} ('{model.path}') cannot be written as ONNX with free sizes: {reason}",
            hint="Export it as .safetensors or .pth instead.",
        ) from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the paths of this machine
    program.model.producer_name, program.model.producer_version = "goldeye", __version__
    program.model.metadata_props.update(
        {
            "architecture": model.architecture,
            "config": json.dumps(model.config),
            "scale": str(model.scale),
            "size_multiple": str(network.multiple),
            "any_size": "true",
            "range": "RGB in [0, 1]",
            "sha256": model.sha256,
            **({"licence": model.metadata["licence"]} if "licence" in model.metadata else {}),
        }
    )
    with atomic_path(path) as temporary:
        program.save(temporary)
        onnx.checker.check_model(str(temporary))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        differences = [_difference(network, session, _noise(*shape)) for shape in CHECKED]
        for difference, shape in zip(differences, CHECKED, strict=True):
            if not difference <= max(TOLERANCE, 2 * _rounding(network, _noise(*shape), difference)):  # NaN too
                raise GoldeyeError(
                    f"The ONNX graph of '{model.path}' differs from torch by {difference:.2g}, more than "
                    f"{TOLERANCE:g}: '{path}' was not written."
                )
    sizes = [[b, 3, h, w] for b, h, w in CHECKED]
    return {"opset": OPSET, "checked": sizes, "max_difference": max(differences)}


def _noise(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


def _difference(network: AnySize, session: Any, image: Tensor) -> float:
    """The largest difference of any value between torch and ONNX Runtime."""
    with torch.no_grad():
        expected = network(image)
    found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max())


def _rounding(network: AnySize, image: Tensor, difference: float) -> float:
    """How far torch's own float32 is from float64, which is asked only for a `difference` above TOLERANCE.

    ELAN's attention is not divided by √d: with weights that are not trained, two orders of the same sums may give
    another picture.
    """
    if not TOLERANCE < difference < float("inf"):
        return 0.0
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(image.double())
        return float((network(image) - exact).abs().max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells its own developers; an error still says what went wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export_text(written: dict[str, Any]) -> str:
    """What was written, for people."""
    text = f"{written['path']}: {written['parameters']:,} parameters"
    text += f", licence: {written['licence']}" if "licence" in written else ""
    if written["format"] != "onnx":
        return text
    sizes = ", ".join("x".join(map(str, size)) for size in written["checked"])
    return f"{text}, opset {written['opset']}; differs from torch by at most {written['max_difference']:.2g} ({sizes})"
