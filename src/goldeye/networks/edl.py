"""EDL: "Real-World Image Super-Resolution by Exclusionary Dual-Learning" (Li et al., 2022).

RRDBNet's picture goes through three branches; a soft mask M made by the third says which of the first two counts where
(Eq. 3, 4). Key names are those of the official code, its trunk's in BasicSR's spelling.
"""

from __future__ import annotations

from torch import Tensor, nn

from goldeye.errors import unknown_name
from goldeye.networks.blocks import reach
from goldeye.networks.rrdbnet import RRDBNet


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
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
        structure: str = "paper",
    ) -> None:
        super().__init__(num_in_ch, num_out_ch, num_feat, num_block, num_grow_ch, scale)
        if structure not in ("paper", "code"):
            raise unknown_name("structure of EDL", structure, ("paper", "code"))
        self.structure = structure

        def branch() -> nn.Sequential:
            if structure == "paper":
                return nn.Sequential(*(PaperBlock(num_out_ch, num_feat) for _ in range(3)))
            return nn.Sequential(*(CodeBlock(channels, num_feat) for channels in (num_out_ch, num_feat, num_feat)))

        self.branch1 = branch()
        self.branch2 = branch()
        self.sm = branch()
        if structure == "code":
            self.tail_conv1 = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
            self.tail_conv2 = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        # The paper's branches work on pictures, which half precision would round visibly; the code's on many channels.
        last = ("conv_last", "branch1", "branch2", "sm") if structure == "paper" else ("tail_conv1", "tail_conv2")
        self.full_precision = ("conv_first", *last)
        after = {"paper": 6, "code": 7}[structure]  # convolutions at the output's size, besides RRDBNet's last three
        trunk = reach([(1, 15 * num_block + 2), (2, 1), (2, 3 + after)], 4)
        self.receptive_radius = (trunk + 1) * self.size_multiple - 1

    def forward(self, x: Tensor) -> Tensor:
        return self.branches(x)[0]

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The fused picture, out1 = M · x, out2 = (1 − M) · y, with M of Eq. 4.

        Eq. 8 puts the adversarial term on out1, the perceptual one on out1 + out2 and the pixel term on out2.
        """
        picture = super().forward(x)
        mask = self.sm(picture).softmax(dim=1)
        out1, out2 = mask * self.branch1(picture), (1 - mask) * self.branch2(picture)
        if self.structure == "code":
            out1, out2 = self.tail_conv1(out1), self.tail_conv2(out2)
        return out1 + out2, out1, out2
