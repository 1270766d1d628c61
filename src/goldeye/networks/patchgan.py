"""PatchGAN, from "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al., 2017).

EDL's discriminator, with 3 layers. Key names are the official ones (`NLayerDiscriminator`).
"""

from __future__ import annotations

from torch import Tensor, nn


class PatchGAN(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, 1, H / 2ⁿ − 2, W / 2ⁿ − 2), n = num_layers: a logit for each patch.

    H and W are rounded down to what n halvings leave, which must be more than 2.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 4, 2, 1), nn.LeakyReLU(0.2)]
        before = num_feat
        for level in range(1, num_layers + 1):  # the last level keeps the size, but for one pixel
            channels = num_feat * min(2**level, 8)
            stride = 2 if level < num_layers else 1
            layers += [nn.Conv2d(before, channels, 4, stride, 1, bias=False), nn.BatchNorm2d(channels)]
            layers.append(nn.LeakyReLU(0.2))
            before = channels
        self.model = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out
