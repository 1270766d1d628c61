"""The model types of BasicSR's family that can be brought over."""

from __future__ import annotations

from dataclasses import dataclass

AS_HERE = "as Goldeye has it"


@dataclass(frozen=True)
class Model:
    """What a `model_type` stands for beyond what its file says."""

    gan: bool
    relativistic: bool = False  # ESRGAN's discriminator compares, whatever gan_type says
    artifacts: bool = False  # LDL's term
    usm: bool = False  # Real-ESRGAN's models make the LR pictures, and sharpen the GT first


MODELS = {
    "SRModel": Model(gan=False),
    "SwinIRModel": Model(gan=False),
    "RealESRNetModel": Model(gan=False, usm=True),
    "SRGANModel": Model(gan=True),
    "ESRGANModel": Model(gan=True, relativistic=True),
    "RealESRGANModel": Model(gan=True, usm=True),
    "ESRGANArtifactsDisModel": Model(gan=True, relativistic=True, artifacts=True),
    "RealESRGANArtifactsDisModel": Model(gan=True, artifacts=True, usm=True),
}
