"""The U-Net discriminator with spectral normalisation of Real-ESRGAN (Wang et al., 2021); key names are BasicSR's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# The classic form: its keys (weight_orig, weight_u, weight_v) are the ones in published checkpoints.
from torch.nn.utils import spectral_norm


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UNetDiscriminatorSN(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, 1, H, W): a logit "is real" for every pixel.

    H and W must be multiples of 8. In training mode every forward makes one step of power iteration, which changes the
    buffers `weight_u` and `weight_v`.
    """

    size_multiple = 8

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, skip_connection: bool = True) -> None:
        super().__init__()
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.conv1 = spectral_norm(nn.Conv2d(num_feat, num_feat * 2, 4, 2, 1, bias=False))
        self.conv2 = spectral_norm(nn.Conv2d(num_feat * 2, num_feat * 4, 4, 2, 1, bias=False))
        self.conv3 = spectral_norm(nn.Conv2d(num_feat * 4, num_feat * 8, 4, 2, 1, bias=False))
        self.conv4 = spectral_norm(nn.Conv2d(num_feat * 8, num_feat * 4, 3, 1, 1, bias=False))
        self.conv5 = spectral_norm(nn.Conv2d(num_feat * 4, num_feat * 2, 3, 1, 1, bias=False))
        self.conv6 = spectral_norm(nn.Conv2d(num_feat * 2, num_feat, 3, 1, 1, bias=False))
        self.conv7 = spectral_norm(nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False))
        self.conv8 = spectral_norm(nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False))
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.skip_connection
        x0 = _leaky(self.conv0(x))
        x1 = _leaky(self.conv1(x0))  # (B, 2F, H/2, W/2)
        x2 = _leaky(self.conv2(x1))  # (B, 4F, H/4, W/4)
        x3 = _leaky(self.conv3(x2))  # (B, 8F, H/8, W/8)
        x4 = _leaky(self.conv4(_double(x3)))
        x5 = _leaky(self.conv5(_double(x4 + x2 if skip else x4)))
        x6 = _leaky(self.conv6(_double(x5 + x1 if skip else x5)))
        out: Tensor = self.conv9(_leaky(self.conv8(_leaky(self.conv7(x6 + x0 if skip else x6)))))
        return out
