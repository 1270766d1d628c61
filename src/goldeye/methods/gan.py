"""Perceptual + adversarial training with a discriminator: the enhancers, ESRGAN, Real-ESRGAN, HGGT Eq. 2."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from goldeye.config import TrainConfig
from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.losses.perceptual import load_vgg19, perceptual_loss
from goldeye.methods.base import Batch, Method, Term, adam, build, require_fit, schedule
from goldeye.train.engine import Engine


class GanMethod(Method):
    """alpha L1 + beta L_p + gamma L_adv (HGGT Eq. 2) on whatever ground truth the data set chose."""

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        super().__init__(config, engine)
        assert config.discriminator is not None, "checked by TrainConfig"
        assert config.losses.adversarial is not None, "checked by TrainConfig"
        self._adversarial = config.losses.adversarial
        discriminator = build(config.discriminator)
        require_fit(discriminator, config.data.crop, config.discriminator.architecture, scale=None)
        self._plain_discriminator = discriminator
        self.discriminator, self.discriminator_optimizer = engine.setup(
            discriminator, adam(discriminator, config.optimizer)
        )
        self.schedulers.append(schedule(self.discriminator_optimizer, config.optimizer))
        self._perceptual = config.losses.perceptual
        if self._perceptual is not None:
            self._vgg = engine.place(load_vgg19(self._perceptual.layers, self._perceptual.weights))

    def generator_terms(self, batch: Batch, sr: Tensor) -> dict[str, Term]:
        terms = super().generator_terms(batch, sr)
        if self._perceptual is not None:
            terms["perceptual"] = Term(perceptual_loss(self._vgg, sr, batch["gt"]), self._perceptual.weight)
        # The discriminator is only looked through here: its own gradients would be thrown away.
        self._plain_discriminator.requires_grad_(False)
        kind = self._adversarial.kind
        real = self.discriminator(batch["gt"]) if kind == "ragan" else None
        fake = self.discriminator(sr)
        terms["adversarial"] = Term(generator_loss(kind, fake, real), self._adversarial.weight)
        return terms

    def discriminator_step(self, batch: Batch, sr: Tensor) -> dict[str, Tensor]:
        self._plain_discriminator.requires_grad_(True)
        real_logits = self.discriminator(batch["gt"])
        fake_logits = self.discriminator(sr)
        real, fake = discriminator_loss(self._adversarial.kind, real_logits, fake_logits)
        self.update(real + fake, self.discriminator, self.discriminator_optimizer)
        return {"d_real": real.detach(), "d_fake": fake.detach()}

    def networks(self) -> list[nn.Module]:
        return [*super().networks(), self._plain_discriminator]

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "discriminator": self._plain_discriminator.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._plain_discriminator.load_state_dict(state["discriminator"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
