"""Ctrl-C and SIGTERM at any moment: nothing half-written stays, and what was finished is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from goldeye.images import write_image
from goldeye.networks import build_network
from goldeye.networks.weights import save_weights


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["computing", "writing"])
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    config = {"num_feat": 4, "num_conv": 1}
    torch.manual_seed(0)
    save_weights(
        tmp_path / "m.safetensors", build_network("compact", **config), architecture="compact", config=config, scale=4
    )
    rng = np.random.default_rng(0)
    write_image(tmp_path / "in" / "a.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    write_image(tmp_path / "in" / "b.png", rng.integers(0, 256, (900, 900, 3), np.uint8))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "goldeye", "upscale", "in", "-o", "out", "-n", "m.safetensors", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = (lambda: (out / "a.png").exists()) if moment == "computing" else (lambda: any(out.glob(".b.*")))
    while not begun():
        assert process.poll() is None, process.stderr
        time.sleep(0.001)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number, error
    assert error.startswith("goldeye: Stopped")
    assert [path.name for path in out.iterdir()] == ["a.png"]
