"""A result of 20,000 x 15,000 pixels in bounded memory, by the command as users run it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from goldeye.images import image_size, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import save_weights


def private_bytes(pid: int) -> int:
    """What a process holds that no file holds as well; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")
@pytest.mark.parametrize("transparent", [False, True])
def test_a_large_picture_needs_less_than_3_gib(tmp_path: Path, transparent: bool) -> None:
    """Python and torch count, too; pages of the result's temporary file do not: the system drops them when it must."""
    config = {"num_feat": 16, "num_conv": 3, "scale": 4}
    torch.manual_seed(0)
    module = build_network("compact", **config)
    save_weights(tmp_path / "m.safetensors", module, architecture="compact", config=config, scale=4)
    tile = np.random.default_rng(0).integers(0, 256, (125, 100, 3), np.uint8)
    pixels = np.tile(tile, (30, 50, 1))
    alpha = np.tile(tile[..., 0], (30, 50)) if transparent else None
    write_image(tmp_path / "in.png", pixels, alpha=alpha)
    arguments = ["upscale", "in.png", "-o", "out", "-n", "m.safetensors", "--device", "cpu", "-q"]
    if transparent:
        arguments += ["--color-fix", "-s", "3.9"]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen([sys.executable, "-m", "goldeye", *arguments], cwd=tmp_path, stdout=log, stderr=log)
        peak = 0
        while process.poll() is None:
            peak = max(peak, private_bytes(process.pid))
            time.sleep(0.02)
        log.seek(0)
        assert process.returncode == 0, log.read()
    side = (3750 * 39 // 10, 5000 * 39 // 10) if transparent else (15_000, 20_000)
    assert image_size(tmp_path / "out" / "in.png") == side
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["in.png"], "no temporary file stays"
    assert 2**28 < peak < 3 * 2**30
