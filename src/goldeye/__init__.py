"""Goldeye: human-guided ground truth and super-resolution training."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goldeye.dataset.groups import Dataset
    from goldeye.degrade import degrade_picture
    from goldeye.evaluate.run import evaluate_folder
    from goldeye.networks.weights import load_model
    from goldeye.upscale import upscale_picture

__version__ = "0.1.0"
__all__ = ["Dataset", "__version__", "degrade_picture", "evaluate_folder", "load_model", "upscale_picture"]

# Loaded when they are asked for, so that `import goldeye` stays light.
_HOMES = {
    "Dataset": "goldeye.dataset.groups",
    "degrade_picture": "goldeye.degrade",
    "evaluate_folder": "goldeye.evaluate.run",
    "load_model": "goldeye.networks.weights",
    "upscale_picture": "goldeye.upscale",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'goldeye' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
