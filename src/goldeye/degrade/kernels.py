"""Blur kernels: functions of explicit parameters that give a float32 (size, size) whose values sum to 1.

`size` is odd; sigmas are in pixels; `theta` turns the first axis (sigma_x) from the columns' direction, in radians.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import j1

Kernel = npt.NDArray[np.float32]


def isotropic_gaussian(size: int, sigma: float) -> Kernel:
    """exp(-r² / 2σ²), normalised."""
    return anisotropic_gaussian(size, sigma, sigma, 0.0)


def anisotropic_gaussian(size: int, sigma_x: float, sigma_y: float, theta: float) -> Kernel:
    """exp(-q/2) with q = xᵀΣ⁻¹x, normalised; Σ has the variances sigma_x², sigma_y² along axes turned by theta."""
    return generalized_gaussian(size, sigma_x, sigma_y, theta, 1.0)


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Kernel:
    """exp(-q^β / 2), normalised: β < 1 has heavier tails than a Gaussian, β > 1 a flatter top."""
    return _normalised(np.exp(-0.5 * _squared_distance(size, sigma_x, sigma_y, theta) ** beta))


def covariance_gaussian(size: int, theta: float, eigenvalue_1: float, eigenvalue_2: float) -> Kernel:
    """The Gaussian with these eigenvalues of its covariance (variances in pixels²), the first along theta (BSRGAN)."""
    return anisotropic_gaussian(size, math.sqrt(eigenvalue_1), math.sqrt(eigenvalue_2), theta)


def fspecial_gaussian(size: int, sigma: float) -> Kernel:
    """MATLAB's `fspecial('gaussian')`: exp(-r² / 2σ²), values below the machine's epsilon set to 0, normalised."""
    y, x = _grid(size)
    values = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return _normalised(np.where(values < np.finfo(np.float64).eps * values.max(), 0, values))


def shifted(kernel: npt.NDArray[np.floating], scale: int) -> Kernel:
    """The kernel moved by (scale - 1) / 2 pixels to the upper left, bilinearly, its edge repeated; normalised.

    A convolution with it, then pixels 0, scale, 2·scale, …, has the centres of scale x scale blocks (BSRGAN).
    """
    positions = np.clip(np.arange(len(kernel)) + (scale - 1) / 2, 0, len(kernel) - 1)
    first = np.floor(positions).astype(np.int64)
    weights = (positions - first)[:, None]
    following = np.minimum(first + 1, len(kernel) - 1)
    moved = kernel.astype(np.float64)
    for _ in range(2):  # the rows, then as rows the columns
        moved = ((1 - weights) * moved[first] + weights * moved[following]).T
    return _normalised(moved)


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Kernel:
    """1 / (1 + q^β), normalised: a plateau with slopes that grow steeper with β."""
    return _normalised(1 / (1 + _squared_distance(size, sigma_x, sigma_y, theta) ** beta))


def sinc(size: int, cutoff: float) -> Kernel:
    """The circular low-pass filter ω·J1(ω·r) / (2π·r) with the cut-off ω in radians per pixel (π: Nyquist), normalised.

    It rings, as sharpening and strong compression do (Real-ESRGAN, Eq. 6).
    """
    y, x = _grid(size)
    r = np.hypot(x, y)
    centre = r == 0
    r[centre] = 1
    return _normalised(np.where(centre, cutoff**2 / (4 * np.pi), cutoff * j1(cutoff * r) / (2 * np.pi * r)))


def _squared_distance(size: int, sigma_x: float, sigma_y: float, theta: float) -> npt.NDArray[np.float64]:
    """q = xᵀΣ⁻¹x at each pixel: the squared distance from the centre in standard deviations."""
    y, x = _grid(size)
    along = np.cos(theta) * x + np.sin(theta) * y
    across = np.cos(theta) * y - np.sin(theta) * x
    squared: npt.NDArray[np.float64] = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    return squared


def _grid(size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Offsets (y, x) of each pixel from the centre."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel's size must be odd and positive, not {size}")
    offsets = np.arange(size) - size // 2.0
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    return y, x


def _normalised(values: npt.NDArray[np.float64]) -> Kernel:
    kernel: npt.NDArray[np.float64] = values / values.sum()
    return kernel.astype(np.float32)
