"""What makes a training method different, one small file each, on the step of `base`."""

from __future__ import annotations

from goldeye.methods.base import Method, NonFiniteStep
from goldeye.methods.gan import GanMethod
from goldeye.methods.hggt import HggtMethod
from goldeye.methods.ldl import LdlMethod

METHODS: dict[str, type[Method]] = {"pixel": Method, "gan": GanMethod, "hggt": HggtMethod, "ldl": LdlMethod}

__all__ = ["METHODS", "Method", "NonFiniteStep"]
