"""ESRGAN's VGG-style discriminator for crops of 128 (Wang et al., 2018); key names are BasicSR's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class VGGDiscriminator128(nn.Module):
    """(B, num_in_ch, 128, 128) in [0, 1], RGB → (B, 1): a logit "is real" for the whole crop, and for no other size."""

    size_multiple = 128

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64) -> None:
        super().__init__()
        before = num_in_ch
        for level, factor in enumerate((1, 2, 4, 8, 8)):  # each level halves the size: 64, 32, 16, 8, 4
            channels = factor * num_feat
            first = level == 0
            self.add_module(f"conv{level}_0", nn.Conv2d(before, channels, 3, padding=1, bias=first))
            if not first:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(channels))
            self.add_module(f"conv{level}_1", nn.Conv2d(channels, channels, 4, 2, 1, bias=False))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(channels))
            before = channels
        self.linear1 = nn.Linear(before * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (128, 128):
            raise InvalidInput(f"The discriminator vgg-128 takes crops of 128x128, not {x.shape[-1]}x{x.shape[-2]}.")
        for name, layer in self.named_children():
            if name == "linear1":
                break
            x = layer(x)
            if name == "conv0_0" or name.startswith("bn"):
                x = _leaky(x)
        out: Tensor = self.linear2(_leaky(self.linear1(x.flatten(1))))
        return out
