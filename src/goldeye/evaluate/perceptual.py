"""LPIPS and DISTS by torchmetrics, from the published weights or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlparse

from goldeye.devices import choose_device
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.evaluate.planes import AnyPicture, cropped_pair, require_size
from goldeye.evaluate.weights import WEIGHT_FILES, described, require_weights
from goldeye.images import to_tensor

if TYPE_CHECKING:
    import torch

Pair = Callable[[AnyPicture, AnyPicture], float]

SIDE = 32  # AlexNet's poolings leave nothing of less than 31 pixels
BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def lpips(net: str, *, crop_border: int, device: str = "auto") -> tuple[Pair, dict[str, Any]]:
    """LPIPS (Zhang et al. 2018, version 0.1) on `net` (alex, vgg or squeeze): the figure's function and its definition.

    The function takes two (H, W, 3) RGB pictures. InvalidInput where weights are missing or are other ones.
    """
    backbone = BACKBONES[net]
    head = f"lpips-{net}"
    _require(backbone, head)
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity(net_type=cast(Any, net)).net
    _check_loaded(network, head)
    pair = _pair(lambda a, b: network(a, b, normalize=True), network, "LPIPS", crop_border, device)
    return pair, {
        "colour": "sRGB",
        "range": "[-1, 1], full size",
        "formula": "Zhang et al. 2018, LPIPS 0.1, spatial mean",
        **_origin(backbone, head),
    }


def dists(*, crop_border: int, device: str = "auto") -> tuple[Pair, dict[str, Any]]:
    """DISTS (Ding et al. 2020) on VGG16: the figure's function, as that of `lpips`, and its definition."""
    _require("vgg16", "dists")
    from torchmetrics.functional.image.dists import DISTSNetwork

    network = DISTSNetwork()
    _check_loaded(network, "dists")
    return _pair(network, network, "DISTS", crop_border, device), {
        "colour": "sRGB",
        "range": "[0, 1], full size (not reduced to 256 pixels)",
        "formula": "Ding et al. 2020",
        **_origin("vgg16", "dists"),
    }


def _require(backbone: str, head: str) -> None:
    """The files are right, and torchvision will read the one that was checked."""
    require_weights(head)
    require_weights(backbone)
    from torchvision.models import get_model_weights

    taken = urlparse(get_model_weights(backbone).DEFAULT.url).path.rpartition("/")[2]
    if taken != WEIGHT_FILES[backbone].file:
        raise GoldeyeError(f"This torchvision reads '{taken}' for {backbone}, not '{WEIGHT_FILES[backbone].file}'.")


def _check_loaded(network: torch.nn.Module, head: str) -> None:
    """torchmetrics passes over keys that it does not know, and random values would stay."""
    import torch

    file = torch.load(WEIGHT_FILES[head].path, map_location="cpu", weights_only=True)
    state = network.state_dict()
    if any(name not in state or not torch.equal(state[name], value) for name, value in file.items()):
        raise GoldeyeError(f"This torchmetrics ({version('torchmetrics')}) does not use the weights of {head}.")


def _pair(
    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    network: torch.nn.Module,
    name: str,
    crop_border: int,
    device: str,
) -> Pair:
    import torch

    where = choose_device(device)
    network.to(where).eval()
    # Pictures may be decoded by several threads; the network works on one pair at a time.
    turn = threading.Lock()

    def measure(a: AnyPicture, b: AnyPicture) -> float:
        a, b = cropped_pair(a, b, crop_border)
        require_size(a, name, SIDE)
        try:
            with turn, torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                return float(distance(to_tensor(a).to(where), to_tensor(b).to(where)))
        except torch.OutOfMemoryError as error:
            raise InvalidInput(f"{name} of {a.shape[1]}x{a.shape[0]} pixels does not fit into the memory.") from error

    return measure


def _origin(backbone: str, head: str) -> dict[str, Any]:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torchmetrics", "torchvision", "torch"))
    return {"backbone": backbone, "weights": described(backbone, head), "library": libraries}
