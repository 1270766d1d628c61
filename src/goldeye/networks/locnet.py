"""LocNet, which says how to move a small patch so that it meets its target, from AdaTarget:

"Tackling the Ill-Posedness of Super-Resolution through Adaptive Target Generation" (Jo et al., 2021). Key names are
the official ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LocNet(nn.Module):
    """(N, 3·sr_size² + 3·gt_size²) → (N, 2, 3): an affine matrix for each pair of patches, as `F.affine_grid` takes it.

    A row is the SR patch and the GT patch around the same centre, each flattened from (3, size, size), values in
    [0, 1]. Starts as the identity.
    """

    def __init__(self, sr_size: int = 7, gt_size: int = 9) -> None:
        super().__init__()
        inputs = 3 * (sr_size**2 + gt_size**2)
        self.layer1 = nn.Linear(inputs, 2 * inputs)
        self.bn1 = nn.BatchNorm1d(2 * inputs)
        self.layer2 = nn.Linear(2 * inputs, 2 * inputs)
        self.bn2 = nn.BatchNorm1d(2 * inputs)
        self.layer3 = nn.Linear(2 * inputs, inputs)
        self.bn3 = nn.BatchNorm1d(inputs)
        self.layer4 = nn.Linear(inputs, 6)
        nn.init.zeros_(self.layer4.weight)
        self.layer4.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])

    def forward(self, patches: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.layer1(patches)))
        x = F.relu(self.bn2(self.layer2(x)))
        x = F.relu(self.bn3(self.layer3(x)))
        out: Tensor = self.layer4(x)
        return out.view(-1, 2, 3)
