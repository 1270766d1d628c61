"""The exponential moving average of the generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights:
    """avg <- decay * avg + (1 - decay) * weight after every step, for weights and for batch norm's running statistics.

    Statistics of the weights of this very step would not go with averaged weights. Whole numbers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one step of the average towards `network`."""
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(network.parameters())
        for mine, theirs in zip(self.module.buffers(), network.buffers(), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                current.append(theirs)
            else:
                mine.copy_(theirs)
        # The third argument, the number of averaged models, does not enter an exponential average.
        self._average(averaged, current, 0)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged network's state, under the network's own keys."""
        return dict(self.module.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        self.module.load_state_dict(state)
