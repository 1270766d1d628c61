"""LDL: a GAN method that penalises artifacts where the residual says so (Eq. 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from goldeye.losses.artifact_map import artifact_loss, artifact_map
from goldeye.methods.base import Batch, Term
from goldeye.methods.gan import GanMethod


class LdlMethod(GanMethod):
    """L_GAN + beta L_artif; the map compares with what the averaged weights make of the same input."""

    def generator_terms(self, batch: Batch, sr: Tensor) -> dict[str, Term]:
        terms = super().generator_terms(batch, sr)
        config = self.config.losses.artifact
        assert config is not None, "checked by TrainConfig"
        averaged = None
        if config.stage == "refined":
            assert self.averaged is not None, "checked by TrainConfig"
            with torch.no_grad():
                averaged = self.averaged.module(batch["lr"])
        found = artifact_map(
            sr, batch["gt"], averaged, stage=config.stage, window=config.window, signed=config.residual == "signed"
        )
        if config.detach_map:
            found = found.detach()
        terms["artifact"] = Term(artifact_loss(sr, batch["gt"], found), config.weight)
        return terms
