"""Pictures through a network: one picture, or files and folders."""

from __future__ import annotations

from goldeye.upscale.engine import Upscaler
from goldeye.upscale.run import upscale_files, upscale_picture

__all__ = ["Upscaler", "upscale_files", "upscale_picture"]
