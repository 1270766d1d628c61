"""The step that every method shares: generator, then discriminator, each guarded against non-finite values."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from goldeye.config import NetworkConfig, OptimizerConfig, TrainConfig
from goldeye.errors import InvalidInput
from goldeye.losses.pixel import pixel_loss
from goldeye.networks import build_network, resolve_config
from goldeye.networks.weights import load_model
from goldeye.train.ema import AveragedWeights
from goldeye.train.engine import Engine

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Term:
    """A summand of the generator's loss: weight * value; a negative weight pushes away (HGGT Eq. 5)."""

    value: Tensor
    weight: float


class NonFiniteStep(Exception):
    """A loss or a gradient was NaN or infinite; the weights were left as they were."""


class Method:
    """The pixel method, and the frame of the others: they add terms and, for a GAN, a discriminator.

    One step is `step(batch)`; a batch has "lr" (B, 3, h, w) and "gt" (B, 3, H, W) in [0, 1].
    """

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        self.config, self.engine = config, engine
        generator = build(config.generator)
        made = resolve_config(config.generator.architecture, config.generator.settings).get("scale", 1)
        if made != config.scale:
            raise InvalidInput(
                f"Network '{config.generator.architecture}' is for scale {made}, the recipe for {config.scale}."
            )
        require_fit(generator, config.data.crop // config.scale, config.generator.architecture, scale=config.scale)
        # The average starts from the unwrapped module, so that its keys are the network's own.
        self.averaged = AveragedWeights(engine.place(generator), config.ema) if config.ema else None
        self._plain_generator = generator
        self.generator, self.generator_optimizer = engine.setup(generator, adam(generator, config.optimizer))
        self.schedulers = [schedule(self.generator_optimizer, config.optimizer)]

    def generator_terms(self, batch: Batch, sr: Tensor) -> dict[str, Term]:
        """The summands of the generator's loss; sr: (B, 3, H, W)."""
        return {"pixel": Term(pixel_loss(sr, batch["gt"]), self.config.losses.pixel)}

    def discriminator_step(self, batch: Batch, sr: Tensor) -> dict[str, Tensor]:
        """Update the discriminator on the generator's detached output; nothing to do without one."""
        return {}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One update. Returns each term's contribution (|weight| * value), the loss, and the discriminator's terms.

        Raises NonFiniteStep with no weight or buffer changed by the network whose update was not finite.
        """
        buffers = [(buffer, buffer.clone()) for network in self.networks() for buffer in network.buffers()]
        try:
            sr = self.generator(batch["lr"])
            terms = self.generator_terms(batch, sr)
            loss = torch.stack([term.weight * term.value for term in terms.values()]).sum()
            self.update(loss, self.generator, self.generator_optimizer)
            if self.averaged is not None:
                self.averaged.update(self._plain_generator)
            logged = {name: abs(term.weight) * term.value.detach() for name, term in terms.items()}
            return logged | {"loss": loss.detach()} | self.discriminator_step(batch, sr.detach())
        except NonFiniteStep:
            for buffer, before in buffers:  # batch norm has seen the values that were not finite
                buffer.copy_(before)
            raise
        finally:
            # A skipped step is still a step of the schedule (torch warns when it is the very first).
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                for scheduler in self.schedulers:
                    scheduler.step()

    def networks(self) -> list[nn.Module]:
        """The networks that a step trains."""
        return [self._plain_generator]

    def update(self, loss: Tensor, network: nn.Module, optimizer: Optimizer) -> None:
        """One optimizer step on `loss`, or NonFiniteStep."""
        optimizer.zero_grad(set_to_none=True)
        self.engine.backward(loss)
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if not (torch.isfinite(loss) & torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
            optimizer.zero_grad(set_to_none=True)
            raise NonFiniteStep
        optimizer.step()

    def inference_network(self) -> nn.Module:
        """The network that users get: the averaged weights where there are any."""
        return self.averaged.module if self.averaged is not None else self._plain_generator

    def state(self) -> dict[str, Any]:
        """Everything a continued run needs, but for the step number."""
        state: dict[str, Any] = {
            "generator": self._plain_generator.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._plain_generator.load_state_dict(state["generator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            # A continued run may have other steps, never other milestones, so the saved ones are the config's own.
            scheduler.load_state_dict(saved)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])


def build(config: NetworkConfig) -> nn.Module:
    """The network of a recipe, with its starting weights."""
    network = build_network(config.architecture, **config.settings)
    if config.init is not None:
        start = load_model(config.init).module
        try:
            network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise InvalidInput(
                f"'{config.init}' does not fit the recipe's network '{config.architecture}' {config.settings or ''}."
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
    """Adam over the trainable parameters."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Adam(trainable, lr=config.lr, betas=config.betas)


def schedule(optimizer: Optimizer, config: OptimizerConfig) -> MultiStepLR:
    """The rate falls by gamma at each milestone."""
    return MultiStepLR(optimizer, list(config.milestones), config.gamma)
