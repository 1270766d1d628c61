"""Perceptual + adversarial training with a discriminator: the enhancers, ESRGAN, Real-ESRGAN, HGGT Eq. 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from goldeye.config import TrainConfig
from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.losses.perceptual import load_vgg19, perceptual_loss
from goldeye.methods.base import Batch, Method, Output, Term, Trained, build, require_fit
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
        self.discriminator = self.trained["discriminator"] = Trained(discriminator, config.optimizer, engine)
        self._perceptual = config.losses.perceptual
        if self._perceptual is not None:
            self._vgg = engine.place(load_vgg19(self._perceptual.layers, self._perceptual.weights))

    def generator_terms(self, batch: Batch, output: Output) -> dict[str, Term]:
        terms = super().generator_terms(batch, output)
        if self._perceptual is not None:
            target = batch.get("gt_usm", batch["gt"])
            terms["perceptual"] = Term(perceptual_loss(self._vgg, output.perceptual, target), self._perceptual.weight)
        # The discriminator is only looked through here: its own gradients would be thrown away.
        self.discriminator.network.requires_grad_(False)
        kind, real = self._adversarial.kind, None
        if kind == "ragan":
            with torch.no_grad():
                real = self.discriminator.run(batch["gt"])
        fake = self.discriminator.run(output.adversarial)
        value = generator_loss(kind, fake, real, mean=self.engine.mean)
        terms["adversarial"] = Term(value, self._adversarial.weight)
        return terms

    def discriminator_step(self, batches: Sequence[Batch], fakes: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        self.discriminator.network.requires_grad_(True)
        halves: list[Tensor] = []
        for batch, sr in zip(batches, fakes, strict=True):
            real_logits, fake_logits = self.discriminator.run(batch["gt"]), self.discriminator.run(sr)
            pair = torch.stack(
                discriminator_loss(self._adversarial.kind, real_logits, fake_logits, mean=self.engine.mean)
            )
            self.engine.backward(pair.sum() / len(batches))
            halves.append(pair.detach())
        real, fake = torch.stack(halves).mean(0)
        return {"d_real": real, "d_fake": fake}, self.discriminator.update(real + fake)
