"""From a clean picture to the low-quality one that a network learns to undo."""

from __future__ import annotations

from goldeye.degrade.pipelines import Pipeline, degrade_picture
from goldeye.degrade.presets import PRESETS, get_pipeline
from goldeye.degrade.run import degrade_folder

__all__ = ["PRESETS", "Pipeline", "degrade_folder", "degrade_picture", "get_pipeline"]
