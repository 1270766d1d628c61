"""How much memory is free, and how much a network needs: what the automatic size of tiles comes from."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_SIDE = 32  # of the picture that a network is measured on


def tile_bytes(network: nn.Module, *, scale: int, device: torch.device | str) -> int:
    """Bytes of memory that `network` needs at most at once for each input pixel, its weights left out.

    Measured on a picture of 32x32 pixels on `device`, plus the result and one copy of it for the caller. On a CPU what
    an operator allocates for itself and frees again is not seen.
    """
    device = torch.device(device)
    x = torch.zeros(1, 3, _SIDE, _SIDE, device=device)
    with torch.inference_mode():
        if device.type == "cuda":
            network(x)  # the first call also allocates what stays
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            network(x)
            peak = torch.cuda.max_memory_allocated(device) - before
        else:
            compiled = any(module._compiled_call_impl is not None for module in network.modules())
            plain = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
            with plain, LiveBytes() as live:
                network(x)
            peak = live.peak
    return peak // _SIDE**2 + 2 * 3 * 4 * scale**2


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages made while it is active; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(storage := tensor.untyped_storage()) not in given:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.now -= size


def free_memory(device: torch.device | str) -> int:
    """Bytes that can be taken on a device without harm.

    On a CPU under Linux what the kernel calls available, or less where a cgroup (a container) allows less; under
    Windows free physical memory; elsewhere half of the physical memory. On CUDA what the driver and torch's own cache
    have free.
    """
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if platform.system() == "Linux":
        return min(
            [_available(Path("/proc/meminfo")), *_cgroup_rests(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
        )
    if platform.system() == "Windows":
        return _windows_free()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _available(meminfo: Path) -> int:
    """MemAvailable of /proc/meminfo, in bytes."""
    for line in meminfo.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _cgroup_rests(membership: Path, root: Path) -> list[int]:
    """What the memory limit of each cgroup that the process is in, and of those around it, still allows."""
    rests: list[int] = []
    if not membership.is_file():
        return rests
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base, files = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.lstrip("/")
        for group in [folder, *folder.parents]:
            if group == base or base in group.parents:
                rests += _rest(group, *files)
    return rests


def _rest(group: Path, limit: str, usage: str, reclaimable: str) -> list[int]:
    """[limit − usage + file cache that can go], or nothing where the group has no limit."""
    try:
        most, used = ((group / name).read_text(encoding="ascii").strip() for name in (limit, usage))
        if most == "max":
            return []
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return [max(0, int(most) - int(used) + int(stat.get(reclaimable, 0)))]
    except (OSError, ValueError):
        return []


def _windows_free() -> int:
    """ullAvailPhys of GlobalMemoryStatusEx."""

    class Status(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("bytes", ctypes.c_uint64 * 7))

    status = Status(length=ctypes.sizeof(Status))
    call: Callable[..., int] = ctypes.windll.kernel32.GlobalMemoryStatusEx  # type: ignore[attr-defined, unused-ignore]
    call(ctypes.byref(status))
    return int(status.bytes[1])
