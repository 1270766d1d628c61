"""FID by torch-fidelity: how far the features of one set of pictures lie from those of another."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.batch import track
from goldeye.devices import choose_device
from goldeye.errors import InvalidInput
from goldeye.evaluate.weights import described, require_weights
from goldeye.images import read_image
from goldeye.images.colour import to_eight_bit

LAYER = "2048"


def fid(results: Sequence[Path], references: Sequence[Path], *, device: str = "auto") -> tuple[float, dict[str, Any]]:
    """Fréchet Inception distance (Heusel et al. 2017) between two sets of picture files, and its definition.

    InvalidInput for fewer than two pictures in a set, and where the weights are missing or are other ones.
    """
    if min(len(results), len(references)) < 2:
        raise InvalidInput("FID needs at least two pictures in each set.")
    extractor = _extractor(device)
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(_features(extractor, paths)) for paths in (results, references)]
    found = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    return float(found), fid_parts() | {"pictures": [len(results), len(references)]}


def require_fid() -> None:
    """ModuleNotFoundError without torch-fidelity; InvalidInput where the weights are missing or are other ones."""
    import torch_fidelity  # noqa: F401

    require_weights("inception")


def fid_parts() -> dict[str, Any]:
    """FID's own parts of its definition, whatever pictures it compares; its weights have to be there."""
    return {
        "colour": "sRGB, 8 bit",
        "range": "0 = same statistics",
        "window": "whole pictures, no crop, resized to 299x299 as TensorFlow 1 does",
        "formula": "Heusel et al. 2017; it depends on the number of pictures, the more so the fewer there are",
        "backbone": f"Inception v3 (2015-12-05), layer {LAYER}",
        "weights": described("inception"),
        "library": f"torch-fidelity {version('torch-fidelity')}, torch {version('torch')}",
    }


def _extractor(device: str) -> Any:
    weights = require_weights("inception")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = FeatureExtractorInceptionV3("inception", [LAYER], feature_extractor_weights_path=str(weights))
    return extractor.to(choose_device(device))


def _features(extractor: Any, paths: Sequence[Path]) -> Any:
    """(pictures, features) float32 on the CPU; one picture at a time, since sizes differ."""
    import torch

    device = next(extractor.parameters()).device
    rows = []
    for path in track(paths, "fid"):
        pixels = np.ascontiguousarray(to_eight_bit(read_image(path)).transpose(2, 0, 1)[np.newaxis])
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            rows.append(extractor(torch.from_numpy(pixels).to(device))[0].cpu())
    return torch.cat(rows).float()
