"""AdaTarget's first stage: LocNet alone learns to put back what was turned and shifted."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.losses.adaptive_target import gt_windows, join, locate, move, resample
from goldeye.methods.adatarget import patch_sizes
from goldeye.methods.base import Batch, Method, Output, Term, build

DEGREES = 10.0  # REFERENCE: random rotations of up to 10 degrees either way …
PIXELS = 1.0  # … and shifts of up to 2/9 of a 9x9 window that spans [-1, 1], a pixel


class LocNetMethod(Method):
    """Trains LocNet, as the recipe's generator, on ground truth: matrix MSE + `losses.pixel` · pixel term.

    Every GT window (9x9, around each 7x7 patch as in the later stages) is turned by a uniform angle in ±10° about its
    middle and shifted by up to ±1 pixel in x and in y; its middle 7x7 takes the SR patch's place. LocNet shall find the
    matrix that undoes this exactly. (The official script has it undo angle and shift each on its own, which leaves up
    to a quarter of a pixel where both are large, draws one motion a step, and takes windows at every pixel.)
    """

    def build_generator(self) -> nn.Module:
        config = self.config
        if config.scale != 1:
            raise InvalidInput(f"Method 'locnet' works on ground truth alone: set scale to 1, not {config.scale}.")
        if config.validation is not None:
            raise InvalidInput("Method 'locnet' makes no pictures that could be validated: leave out validation.")
        network = build(config.generator)
        self._sr_size, self._gt_size = patch_sizes(config.generator, config.data.crop)
        return network

    def generate(self, batch: Batch) -> Output:
        """What LocNet sees in place of SR: the ground truth with every patch misplaced."""
        gt = batch["gt"]
        windows = gt_windows(gt, sr_size=self._sr_size, gt_size=self._gt_size)
        moved = resample(windows, motions(self._draws(gt), self._gt_size), self._gt_size)
        border = (self._gt_size - self._sr_size) // 2
        middle = moved[:, :, border : border + self._sr_size, border : border + self._sr_size]
        return Output.of(join(middle, (gt.shape[2], gt.shape[3]), self._sr_size))

    def generator_terms(self, batch: Batch, output: Output) -> dict[str, Term]:
        gt = batch["gt"]
        found = self._locate(self.generator.network, output.sr, gt)
        wanted = undoing(self._draws(gt), self._sr_size)
        put_back = move(output.sr, found, sr_size=self._sr_size)
        return {
            "matrix": Term((found - wanted).square().mean(), 1.0),
            "pixel": Term(self.pixel_value(put_back, gt), self.config.losses.pixel),
        }

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        """(B, 3, H, 3·W) to look at: the misplaced patches, what LocNet makes of them, and the ground truth."""
        network = self.inference_network()
        training = network.training
        misplaced = self.generate(batch).sr
        found = self._locate(network.eval(), misplaced, batch["gt"])
        network.train(training)
        return torch.cat([misplaced, move(misplaced, found, sr_size=self._sr_size), batch["gt"].float()], dim=3)

    def _locate(self, network: nn.Module, misplaced: Tensor, gt: Tensor) -> Tensor:
        return locate(misplaced, gt, network, sr_size=self._sr_size, gt_size=self._gt_size)

    def _draws(self, gt: Tensor) -> Tensor:
        return draws(gt, (gt.shape[2] // self._sr_size) * (gt.shape[3] // self._sr_size)).flatten(0, 1)


def motions(drawn: Tensor, size: int) -> Tensor:
    """drawn (P, 3) in [0, 1) → matrices (P, 2, 3) that turn and shift windows of `size` pixels."""
    cos, sin, x, y = _motion(drawn)
    return _matrices(cos, -sin, 2 * x / size, sin, cos, 2 * y / size)


def undoing(drawn: Tensor, size: int) -> Tensor:
    """The matrices (P, 2, 3) that undo `motions(drawn)` on patches of `size` pixels around the same middle."""
    cos, sin, x, y = _motion(drawn)
    return _matrices(cos, sin, -2 * (cos * x + sin * y) / size, -sin, cos, -2 * (cos * y - sin * x) / size)


def _motion(drawn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosine and sine of the angle, and the shift in pixels."""
    angle, x, y = (2 * drawn - 1).unbind(1)
    angle = angle * math.radians(DEGREES)
    return angle.cos(), angle.sin(), x * PIXELS, y * PIXELS


def _matrices(*entries: Tensor) -> Tensor:
    return torch.stack(entries, dim=1).view(-1, 2, 3)


def draws(pictures: Tensor, count: int) -> Tensor:
    """(B, count, 3), as if uniform in [0, 1), from the bits of pictures (B, …) alone.

    A step draws no random numbers, or a continued run would not be exact; and what a sample gets must depend neither on
    the rest of its batch nor on the device. So a hash of each picture is the seed, and numbers follow by their place.
    """
    bits = pictures.float().contiguous().view(torch.int32).flatten(1).long()
    places = torch.arange(max(bits.shape[1], 3 * count), device=bits.device)
    seeds = _mix(bits + _mix(places[: bits.shape[1]])).sum(1, keepdim=True)
    numbers = _mix(_mix(seeds) + _mix(places[: 3 * count]))
    return (numbers >> 8).float().view(-1, count, 3) / 2**24  # 24 bits are what a float32 holds


def _mix(numbers: Tensor) -> Tensor:
    """int64, of which the low 32 bits count, to integers in [0, 2^32): each bit changes half of the result's."""
    mask, factor = 0xFFFFFFFF, 0x45D9F3B  # a product of both stays below 2^63
    for _ in range(2):
        numbers = numbers & mask
        numbers = ((numbers >> 16) ^ numbers) * factor
    numbers = numbers & mask
    return (numbers >> 16) ^ numbers
