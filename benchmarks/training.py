"""One GAN step, ours beside the way that BasicSR's family trains, and LDL's step beside the same step without its map.

RRDB 64/23, U-Net SN, VGG19 (seeded random weights), GT crops of 128, batch 2: pixel, perceptual and adversarial terms,
both updates, the averaged weights, and the numbers for the log. The plain way is written out below: default memory
layout and Adam, a loop over the parameters for the average, every number of the log fetched at every step. Prints
ratios (median and range over pairs in both orders) and, with --quality, whether bf16 trains as well as fp32.

    python benchmarks/training.py [--pairs 7] [--device cpu] [--crop 128] [--batch 2] [--quality]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from goldeye.config import TrainConfig, load_recipe
from goldeye.losses.perceptual import load_vgg19
from goldeye.methods import METHODS
from goldeye.networks import build_network
from goldeye.runtime import prepare_process
from goldeye.train.engine import Engine

Batch = dict[str, Tensor]
Step = Callable[[Batch], object]


class PlainStep:
    """The step of BasicSR's Real-ESRGAN model: no setting of ours."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        self.generator = build_network("rrdb").to(device)
        self.averaged = build_network("rrdb").to(device).eval()
        self.averaged.load_state_dict(self.generator.state_dict())
        self.discriminator = build_network("unet-sn").to(device)
        self.vgg = load_vgg19("five", "random").to(device)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99))
            for network in (self.generator, self.discriminator)
        ]

    def __call__(self, batch: Batch) -> dict[str, float]:
        lr, gt = batch["lr"], batch["gt"]
        self.discriminator.requires_grad_(False)
        self.optimizers[0].zero_grad()
        sr = self.generator(lr)
        pixel = F.l1_loss(sr, gt)
        features, wanted = self.vgg(sr), self.vgg(gt.detach())
        perceptual = torch.stack(
            [weight * F.l1_loss(features[name], wanted[name].detach()) for name, weight in self.vgg.layers.items()]
        ).sum()
        adversarial = 0.1 * bce(self.discriminator(sr), True)
        (pixel + perceptual + adversarial).backward()  # type: ignore[no-untyped-call]
        self.optimizers[0].step()
        self.discriminator.requires_grad_(True)
        self.optimizers[1].zero_grad()
        real = bce(self.discriminator(gt), True)
        real.backward()  # type: ignore[no-untyped-call]
        fake = bce(self.discriminator(sr.detach().clone()), False)
        fake.backward()  # type: ignore[no-untyped-call]
        self.optimizers[1].step()
        with torch.no_grad():
            for mine, theirs in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
                mine.mul_(0.999).add_(theirs, alpha=0.001)
        return {"pixel": pixel.item(), "adversarial": adversarial.item(), "real": real.item(), "fake": fake.item()}


def bce(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def our_step(device: str, crop: int, batch: int, *more: str) -> Step:
    """A method of ours as training makes it."""
    recipe = "hggt/ldl-df2kost" if "ldl" in more else "real-esrgan/rrdb"
    settings = ["losses.perceptual.weights=random", f"data.crop={crop}", f"data.batch={batch}", "data.path=."]
    if "ldl" in more:  # but for its map, the same step
        settings += ["losses.pixel=1"]
    config = load_recipe(recipe, [*settings, *(setting for setting in more if setting != "ldl")])
    method = build(config, device)
    return lambda data: method.step([data])


def build(config: TrainConfig, device: str):  # type: ignore[no-untyped-def]
    engine = Engine(device, config.precision, channels_last=config.channels_last, compile=config.compile)
    torch.manual_seed(config.seed)
    return METHODS[config.method](config, engine)


def with_tf32(allowed: bool, step: Step, batch: Batch) -> object:
    """A step with convolutions and matrix products in TF32, or in true float32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    return step(batch)


def seconds(step: Step, batch: Batch, device: str) -> float:
    """One step; on a GPU until the device is done."""
    begun = time.perf_counter()
    step(batch)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def compare(name: str, plain: Step, ours: Step, batch: Batch, pairs: int, device: str) -> None:
    """Print how many times as long `plain` takes as `ours`."""
    for step in (plain, ours):
        seconds(step, batch, device)  # what the first step allocates for good
    rows = []
    for pair in range(pairs):
        order = (plain, ours) if pair % 2 == 0 else (ours, plain)
        took = {step: seconds(step, batch, device) for step in order}
        rows.append((took[plain], took[ours]))
    ratios = [one / other for one, other in rows]
    plain_s, ours_s = (statistics.median(column) for column in zip(*rows, strict=True))
    print(  # noqa: T201
        f"{name}: {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}; "
        f"{plain_s:.3f} s and {ours_s:.3f} s)",
        flush=True,
    )


def quality(device: str, steps: int = 300) -> None:
    """A small generator in fp32 and bf16 on the same pictures: the last losses side by side."""
    generator = torch.Generator().manual_seed(0)
    for precision in ("fp32", "bf16"):
        settings = ["losses.perceptual.weights=random", "data.crop=64", "data.batch=4", "data.path=."]
        settings += ["generator.settings={num_feat: 24, num_block: 2, num_grow_ch: 12}"]
        settings += ["discriminator.settings={num_feat: 16}", "optimizer.lr=1e-3", f"precision={precision}"]
        method = build(load_recipe("real-esrgan/rrdb", settings), device)
        generator.manual_seed(0)
        losses = []
        for _ in range(steps):
            coarse = torch.rand(4, 3, 8, 8, generator=generator)
            gt = F.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1).to(device)
            values = method.step([{"gt": gt, "lr": F.avg_pool2d(gt, 4)}])
            losses.append([float(values[name]) for name in ("pixel", "perceptual")])
        last = torch.tensor(losses[-50:]).mean(0)
        found = f"pixel {last[0]:.5f}, perceptual {last[1]:.5f}"
        print(f"{precision}: {found} (mean of the last 50 of {steps})", flush=True)  # noqa: T201


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--tf32", action="store_true", help="the plain way with TF32, too")
    options = parser.parse_args()
    device, crop, size = options.device, options.crop, options.batch
    torch.manual_seed(0)
    gt = F.interpolate(torch.rand(size, 3, crop // 8, crop // 8), scale_factor=8, mode="bicubic").clamp(0, 1)
    batch = {"gt": gt.to(device), "lr": F.avg_pool2d(gt, 4).to(device)}
    threads = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(0)
    print(f"{platform.machine()}, torch {torch.__version__}, {threads}, GT {crop}, batch {size}")  # noqa: T201
    plain: Step = PlainStep(device)
    for precision in ("fp32", "bf16"):
        ours = our_step(device, crop, size, f"precision={precision}")
        for tf32 in (False, True) if options.tf32 else (False,):
            name = f"plain {'TF32' if tf32 else 'fp32'} / ours {precision}"
            pair = partial(with_tf32, tf32, plain), partial(with_tf32, False, ours)
            compare(name, *pair, batch, options.pairs, device)
    del plain
    base = our_step(device, crop, size)
    compare(
        "LDL / the same step without its map", our_step(device, crop, size, "ldl"), base, batch, options.pairs, device
    )
    if options.quality:
        quality(device)


if __name__ == "__main__":
    prepare_process()
    main()
