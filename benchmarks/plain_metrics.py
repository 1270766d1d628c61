"""PSNR, SSIM and NIQE as users of BasicSR run them, and LPIPS as those of torchmetrics do, written plainly from the
definitions and the manual; pictures are RGB uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import convolve
from scipy.special import gamma

from goldeye.images import luma_bt601, matlab_resize_scale, to_float


def psnr(a: Any, b: Any) -> float:
    """In float64."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def ssim(a: Any, b: Any) -> float:
    """Channel by channel in float64, an 11x11 window applied in two dimensions."""
    channels = [_ssim_plane(a[..., c].astype(np.float64), b[..., c].astype(np.float64)) for c in range(a.shape[2])]
    return float(np.mean(channels))


def ssim_y(a: Any, b: Any) -> float:
    """Of the luma."""
    return _ssim_plane(luma_bt601(to_float(a)), luma_bt601(to_float(b)))


def _ssim_plane(a: Any, b: Any) -> float:
    line = cv2.getGaussianKernel(11, 1.5)
    window = np.outer(line, line.transpose())

    def local(values: Any) -> Any:
        return cv2.filter2D(values, -1, window)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = local(a), local(b)
    variance_a = local(a**2) - mean_a**2
    variance_b = local(b**2) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    values = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(values.mean())


def lpips(results: Path, truths: Path, border: int) -> float:
    """Mean over two folders of pictures with the same names: decode a pair, make tensors, call, and the next one."""
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)

    def tensor(path: Path) -> Any:
        picture: Any = cv2.imread(str(path))
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[border:-border, border:-border]
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float().div(255)[None]

    with torch.no_grad():
        values = [float(metric(tensor(path), tensor(truths / path.name))) for path in sorted(results.iterdir())]
    return float(np.mean(values))


def niqe(picture: Any, mean: Any, covariance: Any, window: Any) -> float:
    """Block by block; each fit searches the whole grid of shapes."""
    plane = np.round(luma_bt601(to_float(picture))).astype(np.float32)
    rows, columns = plane.shape[0] // 96, plane.shape[1] // 96
    plane = plane[: rows * 96, : columns * 96]
    scales = []
    for side in (96, 48):
        local = convolve(plane, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(np.square(plane), window, mode="nearest") - np.square(local)))
        normalised = (plane - local) / (deviation + 1)
        blocks = [
            normalised[row * side : (row + 1) * side, column * side : (column + 1) * side]
            for column in range(columns)
            for row in range(rows)
        ]
        scales.append(np.array([_features(block) for block in blocks]))
        grey = np.repeat((plane / 255)[..., None], 3, axis=2).astype(np.float32)
        plane = matlab_resize_scale(grey, 0.5)[..., 0] * 255
    features = np.concatenate(scales, axis=1)
    complete = features[~np.isnan(features).any(axis=1)]
    inverse = np.linalg.pinv((covariance + np.cov(complete, rowvar=False)) / 2)
    difference = mean - np.nanmean(features, axis=0)
    return float(np.sqrt(difference @ inverse @ difference))


def _features(block: Any) -> list[float]:
    shape, left, right = _fit(block)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _fit(block * np.roll(block, shift, axis=(0, 1)))
        features += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return features


def _fit(block: Any) -> tuple[float, float, float]:
    values = block.flatten()
    shapes = np.arange(0.2, 10.001, 0.001)
    inverse = np.reciprocal(shapes)
    ratios = np.square(gamma(inverse * 2)) / (gamma(inverse) * gamma(inverse * 3))
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    ratio = left / right
    observed = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    observed = observed * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - observed) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale
