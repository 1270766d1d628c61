"""HGGT: positives as targets, negatives as warnings (Eq. 5)."""

from __future__ import annotations

from goldeye.losses.negative_map import indication_map, negative_loss
from goldeye.methods.base import Batch, Output, Term
from goldeye.methods.gan import GanMethod


class HggtMethod(GanMethod):
    """alpha L1 + beta L_p + gamma L_adv - delta L_neg; the batch comes from target `positive+negative`."""

    def generator_terms(self, batch: Batch, output: Output) -> dict[str, Term]:
        terms = super().generator_terms(batch, output)
        config = self.config.losses.negative
        assert config is not None, "checked by TrainConfig"
        indication = indication_map(
            batch["negative"],
            batch["positive"],
            batch["original"],
            negative_weight=batch["negative_weight"],
            positive_weight=batch["positive_weight"],
            has_positive=batch["has_positive"],
            window=config.window,
            power=config.power,
        )
        value = negative_loss(output.sr, batch["negative"], indication, batch["has_negative"])
        terms["negative"] = Term(value, -config.weight)
        return terms
