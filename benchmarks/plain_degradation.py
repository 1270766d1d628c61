"""The degradations as peers compute them, written out plainly: what Goldeye's fast form is measured and tested against.

HGGT's and Real-ESRGAN's way: a batch of torch tensors (B, 3, H, W); kernels drawn for each sample with numpy, but one
resize, one order of the last steps and one grey map for the whole batch. BSRGAN's way: one numpy picture (H, W, 3)
after the other. Pictures are RGB in [0, 1]. The numbers are those of HGGT's supplement, Real-ESRGAN and BSRGAN
(shared/design/REFERENCE.md, section 1). `codec=True` takes Pillow's JPEG instead of the one in tensors.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import linalg, ndimage, stats
from scipy.special import j1
from torch import Tensor
from torch.nn import functional as F

Array = npt.NDArray[np.floating]
Rng = np.random.Generator
Range = tuple[float, float]

# Parameters ------------------------------------------------------------------------------------------------------

_TWO_KINDS = {"iso": 0.7, "aniso": 0.3}
_SIX_KINDS = {
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
_MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Stage:
    """One blur, resize, noise and JPEG; sizes of kernels are odd numbers from the first to the second."""

    sizes: tuple[int, int]
    sigma: Range
    resize: Range
    gaussian: Range
    poisson: Range
    quality: Range
    sinc: float
    grey: float
    directions: tuple[float, float, float] = (0.85, 0.05, 0.10)  # down, same, up
    kinds: tuple[tuple[str, float], ...] = tuple(_TWO_KINDS.items())
    blur: float = 1.0
    beta_gaussian: Range = (0.5, 4)
    beta_plateau: Range = (1, 2)


HGGT = Stage((3, 9), (0.1, 1), (0.8, 1.2), (1, 12), (0.05, 0.8), (75, 95), sinc=0.01, grey=0.1)
ENHANCE_NOISE = Stage((3, 7), (0.1, 0.5), (0.9, 1.1), (6.5, 13), (0.45, 0.9), (80, 95), sinc=0.1, grey=0.1)
ENHANCE_BLUR = replace(ENHANCE_NOISE, sigma=(0.5, 1), gaussian=(0.5, 6.5), poisson=(0.05, 0.45))
REAL_ESRGAN = (
    Stage(
        (7, 21),
        (0.2, 3),
        (0.15, 1.5),
        (1, 30),
        (0.05, 3),
        (30, 95),
        sinc=0.1,
        grey=0.4,
        directions=(0.7, 0.1, 0.2),
        kinds=tuple(_SIX_KINDS.items()),
    ),
    Stage(
        (7, 21),
        (0.2, 1.5),
        (0.3, 1.2),
        (1, 25),
        (0.05, 2.5),
        (30, 95),
        sinc=0.1,
        grey=0.4,
        directions=(0.4, 0.3, 0.3),
        kinds=tuple(_SIX_KINDS.items()),
        blur=0.8,
    ),
)
HGGT_TWO_STAGE = (
    Stage((3, 7), (0.1, 0.6), (0.9, 1.1), (1, 8), (0.05, 0.5), (85, 95), sinc=0.01, grey=0.2),
    Stage((3, 5), (0.1, 0.4), (0.9, 1.1), (0, 4), (0, 0.3), (87, 95), sinc=0.01, grey=0.2, blur=0.8),
)


@dataclass(frozen=True)
class Bsrgan:
    """BSRGAN's numbers, each as a function of the scale s where it depends on it."""

    anisotropic: float
    eigenvalues: Range  # (a, b) of U(0, 1)·(a + b·s)
    isotropic: Range  # the same of sigma
    half_sizes: tuple[int, int]  # kernels of 2m + 1
    middle_resize: Callable[[int], float]  # the u of 1 / U(1, u)
    shifted_half_sizes: tuple[int, int]
    shifted_sigma: Range  # (low, b) of U(low, b·s)
    noise: tuple[int, int]
    quality: tuple[int, int]


BSRGAN = Bsrgan(0.5, (4, 1), (2, 0.2), (3, 12), lambda s: 2.0 * s, (12, 12), (0.1, 0.6), (2, 25), (30, 95))
HGGT_BSRGAN = Bsrgan(0.3, (0.2, 0.2), (0.2, 0.2), (1, 4), lambda s: 1 / 0.85, (1, 4), (0.1, 0.25), (1, 12), (75, 95))

# Kernels ---------------------------------------------------------------------------------------------------------


def odd_size(sizes: tuple[int, int], rng: Rng) -> int:
    """An odd number from the first to the second size."""
    return int(rng.choice(np.arange(sizes[0], sizes[1] + 1, 2)))


def draw_sinc(size: int, lowest: float, rng: Rng) -> Array:
    """A circular low-pass filter with the cut-off from U(lowest, π)."""
    cutoff = rng.uniform(lowest, np.pi)
    y, x = np.mgrid[: float(size), : float(size)] - (size - 1) / 2
    r = np.sqrt(x**2 + y**2)
    with np.errstate(invalid="ignore"):
        kernel = cutoff * j1(cutoff * r) / (2 * np.pi * r)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    return np.asarray(kernel / kernel.sum())


def draw_kernel(stage: Stage, rng: Rng) -> Array:
    """One blur kernel of a stage."""
    size = odd_size(stage.sizes, rng)
    if rng.random() < stage.sinc:
        return draw_sinc(size, np.pi / 3 if size < 13 else np.pi / 5, rng)
    names, weights = zip(*stage.kinds, strict=True)
    kind = str(rng.choice(names, p=weights))
    sigma_x = rng.uniform(*stage.sigma)
    sigma_y, theta = (
        (sigma_x, 0.0)
        if kind.endswith("iso") and "aniso" not in kind
        else (rng.uniform(*stage.sigma), rng.uniform(-np.pi, np.pi))
    )
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    offsets = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 2), axis=-1)
    q = np.sum((offsets @ inverse) * offsets, axis=-1)
    if kind.startswith("plateau"):
        kernel = 1 / (q ** _draw_beta(stage.beta_plateau, rng) + 1)
    elif kind.startswith("generalized"):
        kernel = np.exp(-0.5 * q ** _draw_beta(stage.beta_gaussian, rng))
    else:
        kernel = np.exp(-0.5 * q)
    return np.asarray(kernel / kernel.sum())


def _draw_beta(bounds: Range, rng: Rng) -> float:
    """Below and above 1 with the same probability."""
    return float(rng.uniform(bounds[0], 1) if rng.random() < 0.5 else rng.uniform(1, bounds[1]))


def padded(kernels: list[Array], size: int) -> Tensor:
    """Kernels of any odd size in the middle of (B, size, size)."""
    return torch.tensor(np.stack([np.pad(k, (size - len(k)) // 2) for k in kernels]), dtype=torch.float32)


# On torch, a batch -----------------------------------------------------------------------------------------------


def filter2d(batch: Tensor, kernels: Tensor) -> Tensor:
    """Each picture with its kernel (B, k, k), a grouped convolution; or all channels as pictures with one (1, k, k)."""
    b, c, h, w = batch.shape
    k = kernels.shape[-1]
    batch = F.pad(batch, [k // 2] * 4, mode="reflect")
    if len(kernels) == 1:
        return F.conv2d(batch.reshape(b * c, 1, h + k - 1, w + k - 1), kernels[None]).view(b, c, h, w)
    batch = batch.reshape(1, b * c, h + k - 1, w + k - 1)
    return F.conv2d(batch, kernels.repeat_interleave(c, 0)[:, None], groups=b * c).view(b, c, h, w)


def sharpen(batch: Tensor, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> Tensor:
    """USM as Real-ESRGAN has it: a dense 51x51 Gaussian, where the residual exceeds the threshold."""
    line = cv2.getGaussianKernel(radius + 1 - radius % 2, 0)
    kernel = torch.tensor(line @ line.T, dtype=torch.float32)[None]
    residual = batch - filter2d(batch, kernel)
    soft = filter2d((residual.abs() * 255 > threshold).float(), kernel)
    return soft * (batch + weight * residual).clamp(0, 1) + (1 - soft) * batch


def interpolate(batch: Tensor, mode: str, *, scale: float | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """`F.interpolate`."""
    return F.interpolate(batch, scale_factor=scale, size=size, mode=mode)


def draw_scale(stage: Stage, rng: Rng) -> float:
    """The factor of the random resize."""
    direction = rng.choice(["down", "same", "up"], p=stage.directions)
    low, high = {"down": (stage.resize[0], 1), "same": (1, 1), "up": (1, stage.resize[1])}[str(direction)]
    return float(rng.uniform(low, high))


def add_noise(batch: Tensor, stage: Stage, rng: Rng) -> Tensor:
    """Gaussian or Poisson, one kind for the batch, the level and grey or colour for each sample."""
    b = len(batch)
    grey = torch.tensor(rng.random(b) < stage.grey).float().view(b, 1, 1, 1)
    gaussian = rng.random() < 0.5
    level = torch.tensor(rng.uniform(*(stage.gaussian if gaussian else stage.poisson), b)).float().view(b, 1, 1, 1)
    noise = torch.randn_like(batch) / 255 if gaussian else poisson(batch)
    if grey.sum() > 0:
        luma = (batch * torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        one_map = torch.randn(1, 1, *batch.shape[2:]) / 255 if gaussian else poisson(luma)
        noise = noise * (1 - grey) + one_map * grey
    return (batch + noise * level).clamp(0, 1)


def poisson(batch: Tensor) -> Tensor:
    """Poisson noise for as many levels as the picture has values, up to a power of two."""
    batch = (batch * 255).round().clamp(0, 255) / 255
    counts = [2 ** np.ceil(np.log2(len(torch.unique(picture)))) for picture in batch]
    rates = batch.new_tensor(counts).view(-1, 1, 1, 1)
    return torch.poisson(batch * rates) / rates - batch


def one_stage(batch: Tensor, stage: Stage, rng: Rng, *, scale: int = 4, codec: bool = False) -> Tensor:
    """HGGT: blur, resize, noise, JPEG, resize to 1/scale, 8 bit."""
    h, w = batch.shape[2:]
    batch = filter2d(batch, padded([draw_kernel(stage, rng) for _ in batch], stage.sizes[1]))
    mode = str(rng.choice(_MODES))
    batch = interpolate(batch, mode, scale=draw_scale(stage, rng))
    batch = jpeg(add_noise(batch, stage, rng), stage.quality, rng, codec)
    return round_to_8bit(interpolate(batch, mode, size=(h // scale, w // scale)))


def two_stages(
    batch: Tensor,
    stages: tuple[Stage, Stage],
    final_sinc: float,
    rng: Rng,
    *,
    scale: int = 4,
    codec: bool = False,
) -> Tensor:
    """Real-ESRGAN without USM: two stages; the last resize with its sinc filter and the last JPEG in random order."""
    first, second = stages
    h, w = batch.shape[2:]
    batch = filter2d(batch, padded([draw_kernel(first, rng) for _ in batch], first.sizes[1]))
    batch = interpolate(batch, str(rng.choice(_MODES)), scale=draw_scale(first, rng))
    batch = jpeg(add_noise(batch, first, rng), first.quality, rng, codec)

    if rng.random() < second.blur:
        batch = filter2d(batch, padded([draw_kernel(second, rng) for _ in batch], second.sizes[1]))
    factor = draw_scale(second, rng)
    batch = interpolate(batch, str(rng.choice(_MODES)), size=(int(h / scale * factor), int(w / scale * factor)))
    batch = add_noise(batch, second, rng)
    compress_first = rng.random() < 0.5
    if compress_first:
        batch = jpeg(batch, second.quality, rng, codec)
    batch = interpolate(batch, str(rng.choice(_MODES)), size=(h // scale, w // scale))
    batch = filter2d(batch, padded([_final_sinc(second.sizes, final_sinc, rng) for _ in batch], second.sizes[1]))
    if not compress_first:
        batch = jpeg(batch, second.quality, rng, codec)
    return round_to_8bit(batch)


def _final_sinc(sizes: tuple[int, int], probability: float, rng: Rng) -> Array:
    return draw_sinc(odd_size(sizes, rng), np.pi / 3, rng) if rng.random() < probability else np.ones((1, 1))


def round_to_8bit(batch: Tensor) -> Tensor:
    """Clip and round to multiples of 1/255."""
    return (batch * 255).round().clamp(0, 255) / 255


# JPEG on torch ---------------------------------------------------------------------------------------------------

# The tables of ITU-T T.81, Annex K, for quality 50.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_YCC = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]


@lru_cache(maxsize=1)
def _jpeg_constants() -> dict[str, Tensor]:
    n = np.arange(8)
    line = np.cos((2 * n[:, None] + 1) * n * np.pi / 16) * np.where(n == 0, np.sqrt(0.5), 1) / 2  # (sample, frequency)
    constants = {
        "dct": np.einsum("xu,yv->xyuv", line, line),
        "luma": np.array(_LUMA.split(), float).reshape(8, 8),
        "chroma": np.array(_CHROMA.split(), float).reshape(8, 8),
        "ycc": np.array(_YCC),
        "rgb": np.linalg.inv(_YCC),
    }
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in constants.items()}


def jpeg(batch: Tensor, quality: Range, rng: Rng, codec: bool = False) -> Tensor:
    """Each sample at a quality from the range; `codec`: integers and libjpeg instead of uniform and tensors."""
    if codec:
        pictures = [
            real_jpeg(p.permute(1, 2, 0).numpy(), int(rng.integers(int(quality[0]), int(quality[1]) + 1)))
            for p in batch
        ]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return tensor_jpeg(batch, torch.tensor(rng.uniform(*quality, len(batch))).float())


def tensor_jpeg(batch: Tensor, quality: Tensor) -> Tensor:
    """JPEG without the entropy coding: 4:2:0, 8x8 DCT by tensordot, division by the tables, rounding, and back."""
    constants = _jpeg_constants()
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    h, w = batch.shape[2:]
    ycc = torch.tensordot(F.pad(batch.clamp(0, 1), [0, -w % 16, 0, -h % 16]) * 255, constants["ycc"], dims=([1], [1]))
    y, chroma = ycc[..., 0], ycc[..., 1:].permute(0, 3, 1, 2)
    y = _quantised(y - 128, constants["luma"], factor)
    chroma = F.avg_pool2d(chroma, 2)
    chroma = torch.stack([_quantised(chroma[:, i], constants["chroma"], factor) for i in (0, 1)], 1)
    chroma = chroma.repeat_interleave(2, 2).repeat_interleave(2, 3)
    rgb = torch.tensordot(torch.cat([y[:, None] + 128, chroma], 1), constants["rgb"], dims=([1], [1]))
    pictures: Tensor = rgb.permute(0, 3, 1, 2)[:, :, :h, :w].clamp(0, 255) / 255
    return pictures


def _quantised(plane: Tensor, table: Tensor, factor: Tensor) -> Tensor:
    """(B, H, W) through DCT, quantisation and back."""
    dct = _jpeg_constants()["dct"]
    b, h, w = plane.shape
    steps = table * factor.view(b, 1, 1, 1)
    blocks = plane.view(b, h // 8, 8, w // 8, 8).transpose(2, 3).reshape(b, -1, 8, 8)
    coefficients = (torch.tensordot(blocks, dct, dims=2) / steps).round() * steps
    blocks = torch.tensordot(coefficients, dct, dims=([2, 3], [2, 3]))
    result: Tensor = blocks.view(b, h // 8, w // 8, 8, 8).transpose(2, 3).reshape(b, h, w)
    return result


def real_jpeg(picture: Array, quality: int) -> Array:
    """One picture (H, W, 3) through Pillow."""
    file = io.BytesIO()
    Image.fromarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8)).save(
        file, "JPEG", quality=quality, subsampling=2
    )
    return np.asarray(Image.open(file), np.float32) / np.float32(255)


# BSRGAN, one picture ---------------------------------------------------------------------------------------------


def density_kernel(size: int, theta: float, l1: float, l2: float) -> Array:
    """The density of a normal distribution with the eigenvalues l1, l2 at each pixel, one call of scipy a pixel."""
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    covariance = turn @ np.diag([l1, l2]) @ turn.T
    centre = size // 2
    kernel = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            kernel[y, x] = stats.multivariate_normal.pdf([x - centre, y - centre], mean=[0, 0], cov=covariance)
    return np.asarray(kernel / kernel.sum())


def gaussian_kernel(size: int, sigma: float) -> Array:
    """An isotropic Gaussian whose values below the precision of the largest are zero, as MATLAB's fspecial has it."""
    y, x = np.mgrid[:size, :size] - size // 2
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    kernel[kernel < np.finfo(float).eps * kernel.max()] = 0
    return np.asarray(kernel / kernel.sum())


def shifted(kernel: Array, scale: int) -> Array:
    """The kernel moved by (scale − 1) / 2 pixels: taking every scale-th pixel then keeps the picture in its place."""
    size = len(kernel)
    shift = (scale - 1) / 2
    y, x = (np.clip(axis + shift, 0, size - 1) for axis in np.mgrid[: float(size), : float(size)])
    moved = ndimage.map_coordinates(kernel, [y, x], order=1, mode="nearest")
    return np.asarray(moved / moved.sum())


def bsrgan_blur(picture: Array, p: Bsrgan, scale: int, rng: Rng) -> Array:
    """Anisotropic or isotropic Gaussian, mirrored at the border."""
    size = 2 * int(rng.integers(p.half_sizes[0], p.half_sizes[1] + 1)) + 1
    if rng.random() < p.anisotropic:
        width = p.eigenvalues[0] + p.eigenvalues[1] * scale
        kernel = density_kernel(size, rng.random() * np.pi, width * rng.random(), width * rng.random())
    else:
        kernel = gaussian_kernel(size, (p.isotropic[0] + p.isotropic[1] * scale) * rng.random())
    return np.asarray(ndimage.convolve(picture, kernel[..., None], mode="mirror"))


def cv_resize(picture: Array, height: int, width: int, rng: Rng) -> Array:
    """OpenCV's resize, interpolation at random."""
    mode = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=mode)).clip(0, 1)


def bsrgan_noise(picture: Array, p: Bsrgan, rng: Rng) -> Array:
    """Gaussian noise: .4 in colour, .4 grey, .2 with a random covariance of the channels."""
    level = int(rng.integers(p.noise[0], p.noise[1] + 1)) / 255
    kind = rng.random()
    if kind > 0.6:
        noise = rng.normal(0, level, picture.shape)
    elif kind < 0.4:
        noise = rng.normal(0, level, (*picture.shape[:2], 1))
    else:
        basis = linalg.orth(rng.random((3, 3)))
        covariance = np.abs((p.noise[1] / 255) ** 2 * basis.T @ np.diag(rng.random(3)) @ basis)
        noise = rng.multivariate_normal(np.zeros(3), covariance, picture.shape[:2], check_valid="ignore")
    return (picture + noise).clip(0, 1)


def bsrgan_jpeg(picture: Array, p: Bsrgan, rng: Rng) -> Array:
    """OpenCV's codec."""
    quality = int(rng.integers(p.quality[0], p.quality[1] + 1))
    levels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(levels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.float64) / 255


def bsrgan(picture: Array, p: Bsrgan, rng: Rng, scale: int = 4) -> Array:
    """Six steps in random order (no camera ISP), the last resize after the random one; a last JPEG always."""
    picture = picture.astype(np.float64)
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    if scale == 4 and rng.random() < 0.25:
        picture = cv_resize(picture, picture.shape[0] // 2, picture.shape[1] // 2, rng)
        scale = 2
    order = [str(name) for name in rng.permutation(["blur", "blur", "middle", "last", "noise", "jpeg"])]
    first, second = sorted((order.index("middle"), order.index("last")))
    order[first], order[second] = "middle", "last"
    for name in order:
        if name == "blur":
            picture = bsrgan_blur(picture, p, scale, rng)
        elif name == "middle" and rng.random() < 0.75:
            factor = 1 / rng.uniform(1, p.middle_resize(scale))
            picture = cv_resize(picture, int(factor * picture.shape[0]), int(factor * picture.shape[1]), rng)
        elif name == "middle":
            size = 2 * int(rng.integers(p.shifted_half_sizes[0], p.shifted_half_sizes[1] + 1)) + 1
            kernel = gaussian_kernel(size, rng.uniform(p.shifted_sigma[0], p.shifted_sigma[1] * scale))
            picture = ndimage.convolve(picture, shifted(kernel, scale)[..., None], mode="mirror")[::scale, ::scale]
        elif name == "last":
            picture = cv_resize(picture, height, width, rng)
        elif name == "noise":
            picture = bsrgan_noise(picture, p, rng)
        elif rng.random() < 0.9:
            picture = bsrgan_jpeg(picture, p, rng)
    return bsrgan_jpeg(picture, p, rng)


# RGAN's generic set, one picture ---------------------------------------------------------------------------------


def generic(picture: Array, rng: Rng, scale: int = 4) -> Array:
    """Isotropic Gaussian 15x15, one of four resizes, one of three noises."""
    picture = ndimage.convolve(
        picture.astype(np.float64), gaussian_kernel(15, rng.uniform(0.2, 3))[..., None], mode="mirror"
    )
    modes = [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]
    size = picture.shape[1] // scale, picture.shape[0] // scale
    picture = np.asarray(cv2.resize(picture, size, interpolation=int(rng.choice(modes)))).clip(0, 1)
    kind = rng.integers(3)
    if kind == 0:
        picture = picture + rng.normal(0, rng.uniform(0, 25) / 255, picture.shape)
    else:
        peak = rng.uniform(50, 150)
        picture = rng.poisson(picture * peak) / peak
        if kind == 2:
            picture = picture + rng.normal(0, rng.uniform(0, 5) / 255, picture.shape)
    return np.asarray(np.rint(picture.clip(0, 1) * 255) / 255)


# By name ---------------------------------------------------------------------------------------------------------

# The peers' way of a preset: (B, 3, H, W) to (B, 3, h, w), USM not included.
TORCH: dict[str, Callable[..., Tensor]] = {
    "hggt": lambda batch, rng, **kw: one_stage(batch, HGGT, rng, **kw),
    "hggt-enhance-noise": lambda batch, rng, **kw: one_stage(batch, ENHANCE_NOISE, rng, **{**kw, "scale": 1}),
    "hggt-enhance-blur": lambda batch, rng, **kw: one_stage(batch, ENHANCE_BLUR, rng, **{**kw, "scale": 1}),
    "hggt-two-stage": lambda batch, rng, **kw: two_stages(batch, HGGT_TWO_STAGE, 0.1, rng, **kw),
    "real-esrgan": lambda batch, rng, **kw: two_stages(batch, REAL_ESRGAN, 0.8, rng, **kw),
}
# (H, W, 3) to (h, w, 3).
NUMPY: dict[str, Callable[..., Array]] = {
    "bsrgan": lambda picture, rng, **kw: bsrgan(picture, BSRGAN, rng, **kw),
    "hggt-bsrgan": lambda picture, rng, **kw: bsrgan(picture, HGGT_BSRGAN, rng, **kw),
    "generic": generic,
}


def degrade_one(name: str, picture: Array, rng: Rng) -> Any:
    """One sample by itself with the real codec, nothing shared in a batch: float32 (H, W, 3) to (h, w, 3)."""
    if name in NUMPY:
        return NUMPY[name](picture, rng).astype(np.float32)
    batch = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    return TORCH[name](batch, rng, codec=True)[0].permute(1, 2, 0).numpy()
