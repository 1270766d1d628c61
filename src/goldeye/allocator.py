"""Memory that is freed stays with the process.

glibc gives each large tensor back to the system and faults it in again, page by page, in the next layer; on a CPU
that costs up to 40 % of the time (REFERENCE §7). Commands that run networks call this; importing Goldeye never does.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_memory() -> None:
    """Tell glibc to keep what is freed and to take no block by mmap; does nothing on other systems."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
