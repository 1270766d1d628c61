"""What makes a training method different, one small file each, on the step of `base`."""

from __future__ import annotations

from goldeye.methods.adatarget import AdaTargetGanMethod, AdaTargetMethod
from goldeye.methods.base import Method
from goldeye.methods.edl import EdlMethod
from goldeye.methods.gan import GanMethod
from goldeye.methods.hggt import HggtMethod
from goldeye.methods.ldl import LdlMethod
from goldeye.methods.locnet import LocNetMethod

METHODS: dict[str, type[Method]] = {
    "pixel": Method,
    "gan": GanMethod,
    "hggt": HggtMethod,
    "ldl": LdlMethod,
    "locnet": LocNetMethod,
    "adatarget": AdaTargetMethod,
    "adatarget-gan": AdaTargetGanMethod,
    "edl": EdlMethod,
}

__all__ = ["METHODS", "Method"]
