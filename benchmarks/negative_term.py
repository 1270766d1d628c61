"""HGGT's negative term (Eq. 3-4): ours, over the whole batch at once, beside the official way, sample by sample.

The official way is written out plainly: local variance by reflect padding and unfold, a Python loop over the batch.
Prints the ratio (median and range over pairs in both orders) and the largest difference of the two values.

    python benchmarks/negative_term.py [--pairs 9] [--batch 12] [--size 256]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from goldeye.losses.negative_map import indication_map, negative_loss

Batch = dict[str, Tensor]


def plain_map(candidate: Tensor, original: Tensor) -> Tensor:
    """The residual variation map of one sample, (1, 3, H, W) -> (1, 1, H, W), through unfold."""
    residual = (candidate - original).abs().sum(1, keepdim=True)
    windows = F.pad(residual, [1, 1, 1, 1], mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    return torch.var(windows, dim=(-1, -2), unbiased=True) ** 0.75


def official_way(batch: Batch) -> Tensor:
    """A loop over the samples, as the published training code does."""
    total = torch.zeros(())
    for i in range(len(batch["sr"])):
        if not batch["has_negative"][i]:
            continue
        part = {name: value[i : i + 1] for name, value in batch.items()}
        indication = plain_map(part["negative"], part["original"]) * part["negative_weight"]
        if part["has_positive"]:
            positive = plain_map(part["positive"], part["original"]) * part["positive_weight"]
            indication = torch.where(positive >= indication, torch.zeros_like(indication), indication)
        total = total + (indication * part["sr"] - indication * part["negative"]).abs().mean()
    return total / len(batch["sr"])


def our_way(batch: Batch) -> Tensor:
    """One call for the batch."""
    indication = indication_map(
        batch["negative"],
        batch["positive"],
        batch["original"],
        negative_weight=batch["negative_weight"],
        positive_weight=batch["positive_weight"],
        has_positive=batch["has_positive"],
    )
    return negative_loss(batch["sr"], batch["negative"], indication, batch["has_negative"])


def seconds(way: Callable[[Batch], Tensor], batch: Batch) -> float:
    """Forward and backward of one call."""
    batch["sr"].grad = None
    start = time.perf_counter()
    way(batch).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    torch.manual_seed(0)
    shape = (options.batch, 3, options.size, options.size)
    batch = {name: torch.rand(shape) for name in ("sr", "negative", "positive", "original")}
    batch |= {name: torch.rand(options.batch) for name in ("negative_weight", "positive_weight")}
    batch |= {name: torch.rand(options.batch) < 0.8 for name in ("has_negative", "has_positive")}
    batch["sr"].requires_grad_()
    difference = abs(our_way(batch).item() - official_way(batch).item())
    ratios = []
    for pair in range(options.pairs):
        ways = (official_way, our_way) if pair % 2 == 0 else (our_way, official_way)
        times = {way: seconds(way, batch) for way in ways}
        ratios.append(times[official_way] / times[our_way])
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {shape}")  # noqa: T201
    print(  # noqa: T201
        f"official way / ours: {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}, "
        f"{len(ratios)} pairs); largest difference of the values {difference:.1e}"
    )


if __name__ == "__main__":
    main()
