"""EDL: exclusionary dual-learning, a GAN method whose terms look at different outputs of the network (Eq. 8)."""

from __future__ import annotations

from torch import nn

from goldeye.config import TrainConfig
from goldeye.errors import InvalidInput
from goldeye.methods.base import Batch, Output
from goldeye.methods.gan import GanMethod
from goldeye.networks.edl import EDL
from goldeye.train.engine import Engine


class EdlMethod(GanMethod):
    """L_adv(out1) + L_per(out1 + out2) + L_pix(out2), weighted; the discriminator's fakes are the sums, as in the code.

    The weighted sum of Eq. 7, every term on out1 + out2, is `GanMethod` on the same network.
    """

    def __init__(self, config: TrainConfig, engine: Engine) -> None:
        super().__init__(config, engine)
        network = self.generator.network
        assert isinstance(network, EDL), "checked by build_generator"
        self._branches = engine.runner(network.branches)

    def build_generator(self) -> nn.Module:
        """EDL's network with its two outputs; InvalidInput for any other."""
        network = super().build_generator()
        if not isinstance(network, EDL) or network.branching == "single":
            raise InvalidInput(
                "Method 'edl' trains a network with two outputs: set generator.architecture to edl or edl-code, "
                "and no branching 'single'.",
                hint="method=gan trains any other with all terms on its picture.",
            )
        return network

    def generate(self, batch: Batch) -> Output:
        fused, out1, out2 = self._branches(batch["lr"])
        return Output(sr=fused, pixel=out2, perceptual=fused, adversarial=out1)
