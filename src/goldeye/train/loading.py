"""Which samples make which batch, and the loader that fetches them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from goldeye.config import TrainConfig
from goldeye.dataset.sampling import Sample
from goldeye.train.engine import Engine


class StepSampler(Sampler[list[int]]):
    """The numbers of the samples of `count` batches of `size`, from sample `first` on.

    Batches follow each other within a step, then step by step; each process takes the rank-th of every `world`. So one
    process with batches of 4 and two with batches of 2 see the same samples in the same steps.
    """

    def __init__(self, first: int, count: int, size: int, *, rank: int = 0, world: int = 1) -> None:
        self._first, self._count, self._size, self._rank, self._world = first, count, size, rank, world

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self._count):
            start = self._first + (number * self._world + self._rank) * self._size
            yield list(range(start, start + self._size))


def loader(dataset: Dataset[Sample], config: TrainConfig, engine: Engine, first: int, count: int) -> DataLoader[Any]:
    """`count` batches of this process, from sample `first` of the run on; a sample depends on its number alone."""
    return DataLoader(
        dataset,
        batch_sampler=StepSampler(first, count, config.data.batch, rank=engine.rank, world=engine.world),
        num_workers=config.data.workers,
        # A fork of this process would carry locks of libvips, OpenCV and OpenMP without the threads that hold them.
        multiprocessing_context="spawn" if config.data.workers else None,
        worker_init_fn=_begin_worker,
        pin_memory=engine.device.type == "cuda",
    )


def _begin_worker(worker: int) -> None:
    """OpenCV keeps to one thread, as torch does in a worker: the workers are the parallelism. Ctrl-C, which a terminal
    sends to all processes, is the parent's to answer."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
