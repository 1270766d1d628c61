"""Settings of the process that make networks on a CPU fast. Commands make them; importing Goldeye never does."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def prepare_process() -> None:
    """Call before torch is imported; does nothing that the user's own environment already decides."""
    _keep_memory()
    # By default OpenMP's threads spin long while they wait. As soon as another process does the same, every parallel
    # region waits for a thread that spins in vain, and training becomes many times slower. A short spin costs little.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def is_main_process() -> bool:
    """Whether this process speaks to the user: of those that torchrun starts, the first."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _keep_memory() -> None:
    """Tell glibc to keep what is freed and to take no block by mmap.

    It gives each large tensor back to the system and faults it in again, page by page, in the next layer; on a CPU that
    costs up to 40 % of the time (REFERENCE §7).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
