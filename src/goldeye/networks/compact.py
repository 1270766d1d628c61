"""Compact (`SRVGGNetCompact`), Real-ESRGAN's small network (Wang et al., 2021), for video and weak machines.

Key names are the official ones.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput, unknown_name
from goldeye.networks.blocks import he_start

_FOR_PRELU = (1 + 0.25**2) ** -0.5  # He's initialisation is for ReLU; PReLU starts with the slope 0.25
_ACTIVATIONS = ("prelu", "relu", "leakyrelu")


class Compact(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped. Any H and W.

    `num_conv` + 2 convolutions at the input's size, an activation after each but the last, a pixel shuffle; the input
    enlarged by repeating pixels is added, so `num_out_ch` must be `num_in_ch`.
    """

    size_multiple = 1

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 32,
        scale: int = 4,
        act_type: str = "prelu",
    ) -> None:
        super().__init__()
        if act_type not in _ACTIVATIONS:
            raise unknown_name("act_type of Compact", act_type, _ACTIVATIONS)
        if num_in_ch != num_out_ch:
            raise InvalidInput(f"Compact's num_out_ch ({num_out_ch}) must be its num_in_ch ({num_in_ch}).")
        if scale < 1:
            raise InvalidInput(f"Compact has scales from 1 on, not {scale}.")

        def activation() -> nn.Module:
            if act_type == "prelu":
                return nn.PReLU(num_feat)
            return nn.ReLU(inplace=True) if act_type == "relu" else nn.LeakyReLU(0.1, inplace=True)

        self.scale = scale
        self.receptive_radius = num_conv + 2
        self.full_precision = ("body.0", f"body.{2 * num_conv + 2}")
        layers: list[nn.Module] = []
        for channels in (num_in_ch, *[num_feat] * num_conv):
            layers += [nn.Conv2d(channels, num_feat, 3, padding=1), activation()]
        self.body = nn.Sequential(*layers, nn.Conv2d(num_feat, num_out_ch * scale**2, 3, padding=1))
        # There is no skip inside: with torch's initialisation, which shrinks a signal, many convolutions hardly train.
        *inner, last = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for conv in inner:
            he_start(conv, _FOR_PRELU)
        he_start(last, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(self.body(x), self.scale) + enlarged
