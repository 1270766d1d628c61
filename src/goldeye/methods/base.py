"""The step that every method shares: generator, then discriminator, each guarded against non-finite values."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from goldeye.config import NetworkConfig, OptimizerConfig, TrainConfig
from goldeye.errors import InvalidInput
from goldeye.losses.pixel import pixel_loss
from goldeye.networks import build_network, resolve_config
from goldeye.networks.weights import load_model, trainable_community
from goldeye.train.ema import AveragedWeights
from goldeye.train.engine import Engine

Batch = dict[str, Tensor]

# A pixel term above this, of pictures in [0, 1], is a run that has left them for good: HGGT's negative term has no
# lower bound, and can push the weights away for many steps before anything is infinite.
RUNAWAY = 10.0


@dataclass(frozen=True)
class Term:
    """A summand of the generator's loss: weight * value; a negative weight pushes away (HGGT Eq. 5)."""

    value: Tensor
    weight: float


@dataclass(frozen=True)
class Output:
    """What the generator made, each (B, 3, H, W): the picture, and what each kind of term looks at (EDL Eq. 8)."""

    sr: Tensor
    pixel: Tensor
    perceptual: Tensor
    adversarial: Tensor

    @classmethod
    def of(cls, sr: Tensor) -> Output:
        """Every term looks at the picture."""
        return cls(sr, sr, sr, sr)


class Trained:
    """A network in training: how a step calls it, its optimizer and its schedule."""

    def __init__(self, network: nn.Module, config: OptimizerConfig, engine: Engine, *, clip: float | None = None):
        self.network = engine.place(network)
        self.run = engine.runner(network)
        self.optimizer = adam(network, config)
        self.scheduler = MultiStepLR(self.optimizer, list(config.milestones), config.gamma)
        self._engine, self._clip = engine, clip
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def begin(self) -> None:
        """Forget the gradients, and remember the buffers: batch norm is about to see the step's values."""
        self.optimizer.zero_grad(set_to_none=True)
        self._buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]

    def update(self, loss: Tensor) -> Tensor:
        """One optimizer step on the gathered gradients. Returns () bool: the step was left out, for `loss` or the
        gradients' norm was not finite; then weights and buffers are what they were."""
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self._engine.average(gradients)
        norm = nn.utils.get_total_norm(gradients)
        bad = ~(norm.isfinite() & self._engine.mean(loss.detach()).isfinite())
        if self._clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip, norm)
        self._engine.step(self.optimizer, bad)
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(bad, before, buffer))
        self.scheduler.step()  # a step that is left out is still a step of the schedule
        return bad

    def slow_down(self, factor: float) -> None:
        """Multiply the rate, now and after every milestone."""
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    def state(self) -> dict[str, Any]:
        """All that a continued run needs of it."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        # A continued run may have other steps, never other milestones, so the saved ones are the config's own.
        self.scheduler.load_state_dict(state["scheduler"])


class Method:
    """The pixel method, and the frame of the others: they add terms and, for a GAN, a discriminator.

    One step is `step(batches)`; a batch has "lr" (B, 3, h, w) and "gt" (B, 3, H, W) in [0, 1], and "gt_usm" (as gt)
    where pixel and perceptual terms compare with sharpened targets.
    """

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        self.config, self.engine = config, engine
        generator = self.build_generator()
        # The average is made before anything may wrap the network, so that its keys are the network's own.
        self.averaged = AveragedWeights(engine.place(generator), config.ema) if config.ema else None
        self.generator = Trained(generator, config.optimizer, engine, clip=config.optimizer.clip)
        # Everything with weights to train; a step updates `learning_from_terms`, then the discriminator.
        self.trained: dict[str, Trained] = {"generator": self.generator}

    def build_generator(self) -> nn.Module:
        """The network to train, checked to make pictures of the recipe's scale."""
        config = self.config.generator
        generator = build(config)
        if config.architecture != "community":
            made = resolve_config(config.architecture, config.settings).get("scale", 1)
            if made != self.config.scale:
                raise InvalidInput(
                    f"Network '{config.architecture}' is for scale {made}, the recipe for {self.config.scale}."
                )
        side = self.config.data.crop // self.config.scale
        require_fit(generator, side, config.architecture, scale=self.config.scale)
        return generator

    def generate(self, batch: Batch) -> Output:
        """What the generator makes of a batch."""
        return Output.of(self.generator.run(batch["lr"]))

    def generator_terms(self, batch: Batch, output: Output) -> dict[str, Term]:
        """The summands of the generator's loss."""
        value = self.pixel_value(output.pixel, batch.get("gt_usm", batch["gt"]))
        return {"pixel": Term(value, self.config.losses.pixel)}

    def pixel_value(self, sr: Tensor, gt: Tensor) -> Tensor:
        """The pixel term, unweighted; sr, gt: (B, 3, H, W)."""
        return pixel_loss(sr, gt, self.config.losses.pixel_kind)

    def discriminator_step(self, batches: Sequence[Batch], fakes: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Update the discriminator on the generator's detached pictures: its terms, and whether it was left out."""
        return {}, torch.zeros((), dtype=torch.bool, device=self.engine.device)

    def step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """One update from `batches`, whose gradients are averaged; no value is waited for.

        Returns each term's contribution (|weight| * value), the loss, the discriminator's terms, and "nonfinite" (1
        where an update was left out: that network's weights and buffers are what they were). The generator's is left
        out, too, where the pixel term says that its pictures have run away.
        """
        for trained in self.trained.values():
            trained.begin()
        rows: list[dict[str, Tensor]] = []
        fakes: list[Tensor] = []
        runaway: list[Tensor] = []
        for batch in batches:
            output = self.generate(batch)
            terms = self.generator_terms(batch, output)
            loss = torch.stack([term.weight * term.value for term in terms.values()]).sum()
            self.engine.backward(loss / len(batches))
            rows.append({name: abs(term.weight) * term.value.detach() for name, term in terms.items()})
            rows[-1]["loss"] = loss.detach()
            runaway.append(terms["pixel"].value.detach() > RUNAWAY)
            fakes.append(output.sr.detach())
        values = _means(rows)
        watched = values["loss"].masked_fill(torch.stack(runaway).any(), torch.inf)
        bad = torch.stack([trained.update(watched) for trained in self.learning_from_terms()]).any()
        if self.averaged is not None:
            self.averaged.update(self.generator.network)
        judged, bad_judge = self.discriminator_step(batches, fakes)
        return values | judged | {"nonfinite": bad | bad_judge}

    def learning_from_terms(self) -> list[Trained]:
        """The networks that the generator's loss updates."""
        return [self.generator]

    def slow_down(self, factor: float) -> None:
        """Multiply every rate."""
        for trained in self.trained.values():
            trained.slow_down(factor)

    def is_finite(self) -> bool:
        """Whether every trained weight is a finite number; waits for the device."""
        weights = [p.detach() for trained in self.trained.values() for p in trained.network.parameters()]
        return bool(nn.utils.get_total_norm(weights, norm_type=float("inf")).isfinite())

    def inference_network(self) -> nn.Module:
        """The network that users get: the averaged weights, where there are any and the recipe wants them."""
        if self.averaged is not None and self.config.weights == "averaged":
            return self.averaged.module
        return self.generator.network

    @torch.inference_mode()
    def pictures(self, batch: Batch) -> Tensor:
        """(B, 3, H, W·n) to look at: LR enlarged by nearest, what `inference_network` makes of it, and the target."""
        network = self.inference_network()
        lr, gt = batch["lr"].float(), batch["gt"].float()
        training = network.training
        sr = network.eval()(lr).float()  # in training mode the picture would change the statistics of batch norm
        network.train(training)
        return torch.cat([F.interpolate(lr, size=gt.shape[2:], mode="nearest"), sr, gt], dim=3)

    def state(self) -> dict[str, Any]:
        """Everything a continued run needs, but for the numbers of step and sample."""
        state: dict[str, Any] = {name: trained.state() for name, trained in self.trained.items()}
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        for name, trained in self.trained.items():
            trained.load_state(state[name])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])


def _means(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}


def build(config: NetworkConfig) -> nn.Module:
    """The network of a recipe, with its starting weights."""
    if config.architecture == "community":
        assert config.init is not None, "checked by NetworkConfig"
        return trainable_community(config.init)
    network = build_network(config.architecture, **config.settings)
    if config.init is not None:
        start = load_model(config.init).module
        try:
            network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise InvalidInput(
                f"'{config.init}' does not fit the recipe's network '{config.architecture}'"
                f"{f' with {config.settings}' if config.settings else ''}."
            ) from error
    return network


def require_fit(network: nn.Module, side: int, name: str, *, scale: int | None) -> None:
    """Refuse, before any step, a network that does not take crops of `side` pixels.

    A generator has a `scale` and makes pictures, a discriminator (None) makes logits. Nothing is computed: the network
    is tried on tensors without numbers.
    """
    multiple = int(getattr(network, "size_multiple", 1))
    if side % multiple:
        raise InvalidInput(
            f"Network '{name}' takes sides that are multiples of {multiple}, not {side}: change data.crop."
        )
    try:
        with torch.no_grad():
            shape = tuple(copy.deepcopy(network).to("meta").eval()(torch.empty(1, 3, side, side, device="meta")).shape)
    except InvalidInput as error:
        raise InvalidInput(f"Network '{name}' does not take crops of {side}: {error.message}") from error
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"Network '{name}' does not take RGB crops of {side} x {side}: {error}.") from error
    if scale is None and not (shape[:2] == (1, 1) and len(shape) in (2, 4)):
        raise InvalidInput(f"Network '{name}' is no discriminator: of a picture it makes {shape}.")
    if scale is not None and shape != (1, 3, side * scale, side * scale):
        raise InvalidInput(f"Network '{name}' is no generator of scale {scale}: of a picture it makes {shape}.")


def adam(network: nn.Module, config: OptimizerConfig) -> Adam:
    """Adam over the trainable parameters; fused, which can leave a step out without asking the host."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Adam(trainable, lr=config.lr, betas=config.betas, fused=True)
