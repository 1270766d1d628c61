"""Training on a network that spandrel finds in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from spandrel.architectures.SPAN import SPAN

from goldeye.config import load_recipe
from goldeye.errors import InvalidInput
from goldeye.networks.weights import load_model
from goldeye.train.loop import train
from goldeye.train.plan import dry_run

SETTINGS = ["steps=2", "data.crop=32", "data.batch=2", "log_every=1", "generator=null"]


@pytest.fixture(scope="module")
def span(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "span.pth"
    torch.save({"params": SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4).state_dict()}, path)
    return path


def config_for(path: Path, photos: Path, *more: str):  # type: ignore[no-untyped-def]
    generator = f"generator={{architecture: community, init: {path}}}"
    return load_recipe("tiny/rrdb-pretrain", [*SETTINGS, generator, f"data.path={photos}", *more])


def test_a_community_network_is_trained_saved_and_found_again(span: Path, photos: Path, tmp_path: Path) -> None:
    config = config_for(span, photos)
    train(config, tmp_path / "run", recipe="r", device="cpu")
    before, after = load_model(str(span)), load_model(str(tmp_path / "run"))
    assert (after.architecture, after.scale) == (before.architecture, 4)
    assert after.metadata["recipe"] == "r"
    a, b = before.module.state_dict(), after.module.state_dict()
    assert list(a) == list(b)
    assert any(not torch.equal(a[key], b[key]) for key in a)
    x = torch.rand(1, 3, 9, 7)
    assert after.module(x).shape == (1, 3, 36, 28)
    # Other programs read it as they read the original: the keys are its own.
    plain = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4)
    from safetensors.torch import load_file

    [*_, newest] = sorted((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    plain.load_state_dict(load_file(newest))
    again = train(config_for(span, photos, "steps=3"), tmp_path / "run", recipe="r", device="cpu")
    assert again.started_at == 2


def test_what_does_not_fit_is_one_sentence(span: Path, photos: Path, tmp_path: Path) -> None:
    [problem] = dry_run(config_for(span, photos, "scale=2"), "cpu")["problems"]
    assert "no generator of scale 2" in problem
    train(
        load_recipe(
            "tiny/rrdb-pretrain",
            [
                "steps=1",
                "data.crop=16",
                "data.batch=1",
                f"data.path={photos}",
                "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
            ],
        ),
        tmp_path / "own",
        recipe="r",
        device="cpu",
    )
    [problem] = dry_run(config_for(tmp_path / "own", photos), "cpu")["problems"]
    assert "Goldeye's own" in problem
    with pytest.raises(InvalidInput, match="set init, and no settings"):
        load_recipe("tiny/rrdb-pretrain", ["generator={architecture: community}"])
