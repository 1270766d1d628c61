"""The weight files that metrics and losses need: which, where, and whether they are the right ones.

Files are looked up where torchvision, torch-fidelity and torchmetrics keep them. One that is missing is fetched; one
with another hash is refused, so that no figure ever comes from other weights than its definition says.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from goldeye.errors import InvalidInput
from goldeye.files import sha256

_TORCHVISION = "https://download.pytorch.org/models/"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_LPIPS, _DISTS = "functional/image/lpips_models", "functional/image/dists_models"


@dataclass(frozen=True)
class WeightFile:
    """One file: `source` is the address that it is fetched from, or its folder inside torchmetrics."""

    file: str
    use: str
    sha256: str
    source: str

    @property
    def path(self) -> Path:
        """Where it lies, or belongs: torch's hub folder, or the installed torchmetrics."""
        if self.source.startswith("https:"):
            import torch

            return Path(torch.hub.get_dir()) / "checkpoints" / self.file
        package = importlib.util.find_spec("torchmetrics")  # importing it takes seconds
        if package is None or package.origin is None:
            raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")
        return Path(package.origin).parent / self.source / self.file


WEIGHT_FILES = {
    "vgg19": WeightFile(
        "vgg19-dcbb9e9d.pth",
        "perceptual loss of training",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        _TORCHVISION,
    ),
    "alexnet": WeightFile(
        "alexnet-owt-7be5be79.pth",
        "lpips",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        _TORCHVISION,
    ),
    "vgg16": WeightFile(
        "vgg16-397923af.pth",
        "lpips-vgg and dists",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        _TORCHVISION,
    ),
    "squeezenet1_1": WeightFile(
        "squeezenet1_1-b8a52dc0.pth",
        "lpips-squeeze",
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        _TORCHVISION,
    ),
    "inception": WeightFile(
        "weights-inception-2015-12-05-6726825d.pth",
        "fid",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        _FIDELITY,
    ),
    "lpips-alex": WeightFile(
        "alex.pth", "lpips", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", _LPIPS
    ),
    "lpips-vgg": WeightFile(
        "vgg.pth", "lpips-vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", _LPIPS
    ),
    "lpips-squeeze": WeightFile(
        "squeeze.pth", "lpips-squeeze", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76", _LPIPS
    ),
    "dists": WeightFile(
        "weights.pt", "dists", "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218", _DISTS
    ),
}


def require_weights(name: str) -> Path:
    """The path of a file of `WEIGHT_FILES`, fetched if need be, its hash checked; InvalidInput with one sentence."""
    wanted = WEIGHT_FILES[name]
    path = wanted.path
    if not path.is_file():
        _fetch(wanted, path)
    status = path.stat()
    digest = _digest(path, status.st_mtime_ns, status.st_size)
    if digest != wanted.sha256:
        raise InvalidInput(
            f"'{path}' is not the right file ({wanted.use}): its SHA-256 is {digest[:16]}…, not {wanted.sha256[:16]}….",
            hint=f"Replace it by {wanted.source}{wanted.file}." if wanted.source.startswith("https:") else None,
        )
    return path


def weight_table() -> list[dict[str, Any]]:
    """Every weight file: {"file", "use", "path" (None where its library is missing), "sha256", "source", "present"}."""
    rows = []
    for wanted in WEIGHT_FILES.values():
        try:
            path = wanted.path
        except ModuleNotFoundError:
            path = None
        rows.append(
            {
                "file": wanted.file,
                "use": wanted.use,
                "path": None if path is None else str(path),
                "sha256": wanted.sha256,
                "source": wanted.source + wanted.file if wanted.source.startswith("https:") else "torchmetrics",
                "present": path is not None and path.is_file(),
            }
        )
    return rows


def described(*names: str) -> list[dict[str, str]]:
    """[{"file", "sha256"}] for a definition; only for files that `require_weights` has passed."""
    return [{"file": WEIGHT_FILES[name].file, "sha256": WEIGHT_FILES[name].sha256} for name in names]


def _fetch(wanted: WeightFile, path: Path) -> None:
    import torch

    missing = f"The weights '{wanted.file}' ({wanted.use}) are not here"
    if not wanted.source.startswith("https:"):
        raise InvalidInput(f"{missing}; '{path}' should hold them.", hint="Install torchmetrics anew.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(wanted.source + wanted.file, str(path), wanted.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise InvalidInput(
            f"{missing} and cannot be fetched; place the file at '{path}'.",
            hint=f"Source: {wanted.source}{wanted.file}",
        ) from error


@lru_cache(maxsize=64)
def _digest(path: Path, modified: int, size: int) -> str:
    return sha256(path)
