"""EDL: "Real-World Image Super-Resolution by Exclusionary Dual-Learning" (Li et al., 2022).

RRDBNet's picture goes through three branches; a soft mask M made by the third says which of the first two counts where
(Eq. 3, 4). Key names are those of the official code, its trunk's in BasicSR's spelling.
"""

from __future__ import annotations

from torch import Tensor, nn

from goldeye.errors import InvalidInput, unknown_name
from goldeye.networks.blocks import reach
from goldeye.networks.rrdbnet import RRDBNet

# What each branching has besides the trunk: the branches of the paper's Eq. 3, in the official code's names.
_BRANCHES = {"exclusionary": ("branch1", "branch2", "sm"), "dual": ("branch1", "branch2"), "single": ("branch1",)}


class PaperBlock(nn.Module):
    """The paper's ResBlock (Eq. 3): x + conv3x3(relu(conv3x3(x))), (B, channels, H, W) → same."""

    def __init__(self, channels: int, num_feat: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, num_feat, 3, padding=1), nn.ReLU(), nn.Conv2d(num_feat, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.block(x)
        return x + residual


class CodeBlock(nn.Module):
    """The official code's: conv1x1(x) + two 3x3 convolutions, each with LeakyReLU; (B, in, H, W) → (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.block(x)
        return out


class EDL(RRDBNet):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped; sizes as RRDBNet's.

    `structure="paper"`: 3 blocks a branch between pictures, M over the picture's channels. `"code"`: `num_feat`
    channels in branches and mask, and a convolution back to the picture for each of the two outputs.
    `branching="exclusionary"` is the paper's method; "dual" (the sum of two branches without a mask) and "single" (one
    branch) are the other rows of its Table VII.
    """

    branch1: nn.Sequential
    branch2: nn.Sequential
    sm: nn.Sequential
    tail_conv1: nn.Conv2d
    tail_conv2: nn.Conv2d

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
        structure: str = "paper",
        branching: str = "exclusionary",
    ) -> None:
        super().__init__(num_in_ch, num_out_ch, num_feat, num_block, num_grow_ch, scale)
        if structure not in ("paper", "code"):
            raise unknown_name("structure of EDL", structure, ("paper", "code"))
        if branching not in _BRANCHES:
            raise unknown_name("branching of EDL", branching, _BRANCHES)
        self.structure, self.branching = structure, branching

        def branch() -> nn.Sequential:
            if structure == "paper":
                return nn.Sequential(*(PaperBlock(num_out_ch, num_feat) for _ in range(3)))
            return nn.Sequential(*(CodeBlock(channels, num_feat) for channels in (num_out_ch, num_feat, num_feat)))

        branches = _BRANCHES[branching]
        for name in branches:
            self.add_module(name, branch())
        # The paper's branches work on pictures, which half precision would round visibly; the code's on many channels.
        last: tuple[str, ...] = ("conv_last", *branches)
        if structure == "code":
            last = ("tail_conv1", "tail_conv2")[: 1 if branching == "single" else 2]
            for name in last:
                self.add_module(name, nn.Conv2d(num_feat, num_out_ch, 3, padding=1))
        self.full_precision = ("conv_first", *last)
        after = {"paper": 6, "code": 7}[structure]  # convolutions at the output's size, besides RRDBNet's last three
        trunk = reach([(1, 15 * num_block + 2), (2, 1), (2, 3 + after)], 4)
        self.receptive_radius = (trunk + 1) * self.size_multiple - 1

    def forward(self, x: Tensor) -> Tensor:
        if self.branching == "single":
            out: Tensor = self.branch1(super().forward(x))
            return self.tail_conv1(out) if self.structure == "code" else out
        return self.branches(x)[0]

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The fused picture, out1 = M · x, out2 = (1 − M) · y, with M of Eq. 4; without a mask out1 = x, out2 = y.

        Eq. 8 puts the adversarial term on out1, the perceptual one on out1 + out2 and the pixel term on out2.
        InvalidInput with a single branch.
        """
        if self.branching == "exclusionary":
            return self.branches_and_mask(x)[:3]
        if self.branching == "single":
            raise InvalidInput("This EDL network has a single branch, and so one output.")
        picture = super().forward(x)
        return self._fused(self.branch1(picture), self.branch2(picture))

    def branches_and_mask(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`branches` and M: (B, C, H·scale, W·scale), a share for each channel, 1 over all at each pixel.

        C is `num_out_ch` in the paper's structure and `num_feat` in the code's. InvalidInput where there is no mask.
        """
        if self.branching != "exclusionary":
            raise InvalidInput(f"This EDL network has no mask: its branching is '{self.branching}'.")
        picture = super().forward(x)
        mask: Tensor = self.sm(picture).softmax(dim=1)
        return *self._fused(mask * self.branch1(picture), (1 - mask) * self.branch2(picture)), mask

    def _fused(self, out1: Tensor, out2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.structure == "code":
            out1, out2 = self.tail_conv1(out1), self.tail_conv2(out2)
        return out1 + out2, out1, out2
