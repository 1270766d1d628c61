"""LDL: a GAN method that penalises artifacts where the residual says so (Eq. 8)."""

from __future__ import annotations

import torch

from goldeye.config import TrainConfig
from goldeye.losses.artifact_map import artifact_loss, artifact_map
from goldeye.methods.base import Batch, Output, Term
from goldeye.methods.gan import GanMethod
from goldeye.train.engine import Engine


class LdlMethod(GanMethod):
    """L_GAN + beta L_artif; the map compares with what the averaged weights make of the same input."""

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        super().__init__(config, engine)
        if self.averaged is not None:
            self._averaged_run = engine.runner(self.averaged.module)

    def generator_terms(self, batch: Batch, output: Output) -> dict[str, Term]:
        terms = super().generator_terms(batch, output)
        config = self.config.losses.artifact
        assert config is not None, "checked by TrainConfig"
        averaged = None
        if config.stage == "refined":
            with torch.no_grad():
                averaged = self._averaged_run(batch["lr"])
        found = artifact_map(
            output.sr,
            batch["gt"],
            averaged,
            stage=config.stage,
            window=config.window,
            signed=config.residual == "signed",
        )
        if config.detach_map:
            found = found.detach()
        terms["artifact"] = Term(artifact_loss(output.sr, batch["gt"], found), config.weight)
        return terms
