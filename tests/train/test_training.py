"""The loop: samples, every method's gradients, exact resume, kill -9, the non-finite guard."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from goldeye.config import DataConfig, load_recipe
from goldeye.dataset.groups import Dataset
from goldeye.dataset.multi_gt import MultiGTDataset, labelled_groups
from goldeye.dataset.synthetic import PhotoDataset, draw_augmentation, sample_index
from goldeye.dataset.training import build_dataset
from goldeye.errors import Interrupted, InvalidInput, RunStopped
from goldeye.images import write_image
from goldeye.methods import METHODS
from goldeye.networks.weights import load_model
from goldeye.train.checkpoint import latest_step
from goldeye.train.ema import AveragedWeights
from goldeye.train.engine import Engine
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train
from goldeye.train.plan import dry_run
from training_data import VOTES, noisy

# The smallest networks that are still what the recipes name.
SMALL = [
    "steps=6",
    "data.crop=16",
    "data.batch=2",
    "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
    "log_every=1",
    "checkpoint_every=3",
]
PINNED = [0.020999806, 0.000164838551, 7.88972757e-05, 7.9376965e-05]  # LDL: contributions of the artifact term
SMALL_GAN = [*SMALL, "discriminator.settings={num_feat: 4}", "losses.perceptual=null"]


@pytest.fixture
def dataset(labelled: Path) -> Path:
    return labelled


def config_for(recipe, photos, dataset, *more):
    path = photos if recipe.endswith("pretrain") or "enhance" in recipe else dataset
    settings = SMALL if recipe.endswith("pretrain") else SMALL_GAN
    return load_recipe(recipe, [*settings, f"data.path={path}", *more])


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_sample_depends_on_seed_and_number_alone(photos):
    config = DataConfig(path=photos, crop=16)
    one, other = (PhotoDataset(config, scale=4, seed=5) for _ in range(2))
    forwards = [one[number] for number in range(8)]
    backwards = [other[number] for number in reversed(range(8))]
    for a, b in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(a["lr"], b["lr"])
        assert torch.equal(a["gt"], b["gt"])
    assert not torch.equal(PhotoDataset(config, scale=4, seed=6)[0]["gt"], forwards[0]["gt"])
    assert forwards[0]["lr"].shape == (3, 4, 4)
    assert forwards[0]["gt"].shape == (3, 16, 16)


def test_every_photo_comes_once_an_epoch():
    for epoch in range(3):
        assert sorted(sample_index(1, epoch * 7 + k, 7) for k in range(7)) == list(range(7))
    assert [sample_index(1, k, 50) for k in range(50)] != [sample_index(1, 50 + k, 50) for k in range(50)]


def test_augmentation_modes():
    picture = np.arange(2 * 3 * 1).reshape(2, 3, 1)

    def seen(mode):
        return {draw_augmentation(np.random.default_rng(seed), mode)(picture).tobytes() for seed in range(60)}

    assert (len(seen("none")), len(seen("flip")), len(seen("flip+rotate"))) == (1, 2, 8)


def test_groups_that_each_target_keeps(dataset):
    opened = Dataset.open(dataset)
    assert [group.id for group in labelled_groups(opened, "original", None)] == sorted(VOTES)
    positive = {group.id: group for group in labelled_groups(opened, "positive", None)}
    assert set(positive) == {"both", "positive"}
    both = {group.id: group for group in labelled_groups(opened, "positive+negative", "train")}
    assert set(both) == {"both", "positive", "negative"}
    assert [rated.share for rated in both["both"].negatives] == [2 / 3]
    assert [rated.path.parent.name for rated in both["both"].positives] == ["01"]
    assert both["negative"].positives == ()


def test_multi_gt_samples_take_the_same_window_of_every_picture(dataset):
    data = MultiGTDataset(
        DataConfig(source="dataset", path=dataset, target="positive+negative", crop=40, augment="none"), scale=4, seed=0
    )
    from goldeye.dataset.sampling import chw
    from goldeye.images import read_image, to_float

    places = {group.id: group for group in data.groups}
    seen = set()
    for number in range(6):
        sample = data[number]
        group = data.groups[sample_index(0, number, len(data))]
        original = chw(to_float(read_image(group.original)))
        assert torch.equal(sample["original"], original)
        assert sample["has_positive"] == bool(group.positives)
        assert sample["has_negative"] == bool(group.negatives)
        target = group.positives[0].path if group.positives else group.original
        assert torch.equal(sample["gt"], chw(to_float(read_image(target))))
        if group.negatives:
            assert torch.equal(sample["negative"], chw(to_float(read_image(group.negatives[0].path))))
            assert sample["negative_weight"] == pytest.approx(group.negatives[0].share)
        seen.add(group.id)
    assert seen == set(places)
    plain = MultiGTDataset(
        DataConfig(source="dataset", path=dataset, target="positive+negative", crop=40),
        scale=4,
        seed=0,
        vote_weighting=False,
    )
    assert {float(plain[number]["negative_weight"]) for number in range(3)} == {1.0}


def test_bad_data_is_refused_by_name(photos, dataset, tmp_path):
    with pytest.raises(InvalidInput, match="smaller than the crop of 64"):
        PhotoDataset(DataConfig(path=photos, crop=64), scale=4, seed=0)
    with pytest.raises(InvalidInput, match=r"set data\.path"):
        build_dataset(load_recipe("tiny/rrdb-pretrain"))
    with pytest.raises(InvalidInput, match="hggt-enhance-noise"):
        build_dataset(config_for("tiny/rrdb-pretrain", photos, dataset, "data.degradation=hggt-enhance-noise"))
    other_scale = config_for("tiny/rrdb-pretrain", photos, dataset, "scale=2")
    with pytest.raises(InvalidInput, match="is for scale 4, the recipe for 2"):
        train(other_scale, tmp_path / "run", recipe="x")
    odd_crop = config_for("tiny/rrdb-original", photos, dataset, "data.crop=20")
    with pytest.raises(InvalidInput, match="multiples of 8"):
        train(odd_crop, tmp_path / "other", recipe="x")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("discriminator={architecture: vgg-128, settings: {num_feat: 4}}", "vgg-128.* does not take crops of 256"),
        ("discriminator={architecture: locnet}", "locnet.* does not take RGB crops"),
        ("discriminator={architecture: compact, settings: {num_feat: 4, num_conv: 1}}", "is no discriminator: of a"),
        ("generator={architecture: rrdb, settings: {num_in_ch: 6}}", "rrdb.* does not take RGB crops of 64 x 64"),
        ("generator={architecture: unet-sn}", "for scale 1, the recipe for 4"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_the_first_step(photos, dataset, setting, message):
    config = config_for("tiny/rrdb-original", photos, dataset, "losses.perceptual=null", "data.crop=256", setting)
    problems = dry_run(config)["problems"]
    assert any(re.search(message, problem) for problem in problems), problems


@pytest.mark.parametrize(
    "discriminator",
    [
        "{architecture: vgg-128, settings: {num_feat: 2}}",
        "{architecture: patch-gan, settings: {num_feat: 2}}",
        "{architecture: unet-sn, settings: {num_feat: 2}}",
    ],
)
def test_every_discriminator_trains(dataset, tmp_path, discriminator):
    for number in range(2):
        write_image(tmp_path / "photos" / f"{number}.png", noisy(number, 140))
    settings = ["steps=2", "data.crop=128", "data.batch=2", "losses.perceptual=null"]
    settings += ["generator.settings={num_feat: 4, num_block: 1, num_grow_ch: 2}", f"discriminator={discriminator}"]
    settings += ["data.source=photos", f"data.path={tmp_path / 'photos'}"]
    config = config_for("tiny/rrdb-original", None, dataset, *settings)
    result = train(config, tmp_path / "run", recipe="x")
    assert result.step == 2
    assert all(np.isfinite(row["d_real"]) for row in read_metrics(tmp_path / "run"))


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "terms"),
    [
        ("tiny/rrdb-pretrain", {"pixel"}),
        ("tiny/rrdb-original", {"pixel", "perceptual", "adversarial"}),
        ("tiny/rrdb-positive", {"pixel", "perceptual", "adversarial"}),
        ("tiny/rrdb-posneg", {"pixel", "perceptual", "adversarial", "negative"}),
        ("tiny/rrdb-ldl", {"pixel", "perceptual", "adversarial", "artifact"}),
    ],
)
def test_each_term_reaches_the_generator(recipe, terms, photos, dataset):
    config = config_for(
        recipe, photos, dataset, *(["losses.perceptual={layers: conv5_4, weights: random}"] if len(terms) > 1 else [])
    )
    torch.manual_seed(0)
    engine = Engine("cpu")
    method = METHODS[config.method](config, engine)
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[number] for number in range(3)])
    assert set(method.generator_terms(batch, method.generate(batch))) == terms
    for name in terms:
        for parameter in method.generator.network.parameters():
            parameter.grad = None
        method.generator_terms(batch, method.generate(batch))[name].value.backward()
        gradient = sum(p.grad.abs().sum() for p in method.generator.network.parameters() if p.grad is not None)
        assert gradient > 0, name


def test_the_generators_step_leaves_the_discriminator_alone_and_back(photos, dataset):
    config = config_for("tiny/rrdb-posneg", photos, dataset)
    torch.manual_seed(0)
    method = METHODS["hggt"](config, Engine("cpu"))
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[number] for number in range(2)])
    output = method.generate(batch)
    method.generator_terms(batch, output)["adversarial"].value.backward()
    judge = method.discriminator.network
    assert all(p.grad is None for p in judge.parameters())
    before = [p.detach().clone() for p in method.generator.network.parameters()]
    method.discriminator_step([batch], [output.sr.detach()])
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, method.generator.network.parameters(), strict=True))


def test_pos_neg_equals_pos_where_no_group_has_a_negative(photos, dataset):
    """The same batch with every negative taken away gives the same update as the positive method."""
    config = config_for("tiny/rrdb-posneg", photos, dataset)
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[number] for number in range(3)])
    batch["has_negative"] = torch.zeros_like(batch["has_negative"])
    states = []
    for recipe in ("tiny/rrdb-posneg", "tiny/rrdb-positive"):
        torch.manual_seed(0)
        config = config_for(recipe, photos, dataset)
        method = METHODS[config.method](config, Engine("cpu"))
        values = method.step([batch])
        states.append(method.generator.network.state_dict())
    assert values["loss"].isfinite()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_ldl_steps_are_pinned(photos):
    """Losses of a few steps, so that a change of the method, of what its map sees or of the order of updates shows."""
    config = config_for("tiny/rrdb-ldl", photos, photos, "data.source=photos")
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[number] for number in range(2)])
    torch.manual_seed(0)
    method = METHODS["ldl"](config, Engine("cpu"))
    found = [method.step([batch])["artifact"].item() for _ in range(4)]
    assert found == pytest.approx(PINNED, rel=2e-3)


@pytest.mark.parametrize("stage", ["local", "scaled"])
def test_maps_that_are_not_refined_need_no_averaged_weights(stage, photos):
    more = ["data.source=photos", "ema=0", f"losses.artifact.stage={stage}"]
    config = config_for("tiny/rrdb-ldl", photos, photos, *more)
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[number] for number in range(2)])
    assert METHODS["ldl"](config, Engine("cpu")).step([batch])["artifact"] > 0


# --- runs -------------------------------------------------------------------------------------------------------------


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(str(run)).module.state_dict()


def assert_same_run(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


@pytest.mark.parametrize("recipe", ["tiny/rrdb-posneg", "tiny/rrdb-ldl"])
def test_a_stopped_run_ends_like_an_unbroken_one(recipe, photos, dataset, tmp_path, monkeypatch):
    config = config_for(recipe, photos, dataset)
    train(config, tmp_path / "straight", recipe=recipe)
    original = METHODS[config.method].step

    def stop_in_step_four(self, batches, count=[0]):  # noqa: B006 (the list counts calls)
        count[0] += 1
        if count[0] == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batches)

    monkeypatch.setattr(METHODS[config.method], "step", stop_in_step_four)
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(config, tmp_path / "stopped", recipe=recipe)
    monkeypatch.undo()
    assert latest_step(tmp_path / "stopped") == 4
    result = train(config, tmp_path / "stopped", recipe=recipe)
    assert result.started_at == 4
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    again = train(config, tmp_path / "stopped", recipe=recipe)
    assert again.started_at == again.step == 6


def test_killed_and_started_again_ends_the_same(photos, dataset, tmp_path):
    """kill -9 between checkpoints: the run goes on from the last one and forgets the log lines after it."""
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "steps=200", "checkpoint_every=4")
    code = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        "from goldeye.config import load_recipe; from goldeye.train.loop import train\n"
        "train(load_recipe(sys.argv[1]), Path(sys.argv[2]), recipe='r')\n"
    )
    from goldeye.config import to_yaml

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(config))
    command = [sys.executable, "-c", code, str(recipe), str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    pointer = tmp_path / "killed" / "checkpoints" / "latest"
    deadline = time.monotonic() + 60
    while not pointer.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    stopped_at = latest_step(tmp_path / "killed")
    assert 0 < stopped_at < 200
    # A checkpoint cut short must not be used, the one before must.
    broken = tmp_path / "killed" / "checkpoints" / "step-00000199.pt"
    broken.write_bytes(b"PK\x03\x04 cut short")
    for name in ("killed", "straight"):
        subprocess.run([*command[:-1], str(tmp_path / name)], check=True)
    assert_same_run(tmp_path / "killed", tmp_path / "straight")


def test_damaged_checkpoints_are_named_and_never_outlive_good_ones(photos, dataset, tmp_path):
    run = tmp_path / "run"
    more = ["checkpoint_every=1", "keep_checkpoints=2"]
    train(config_for("tiny/rrdb-pretrain", photos, dataset, *more), run, recipe="r")
    newest = run / "checkpoints" / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"step-00000006\.pt' is damaged; the one before it is used"):
        result = train(config_for("tiny/rrdb-pretrain", photos, dataset, *more, "steps=7"), run, recipe="r")
    assert (result.started_at, result.step) == (5, 7)
    assert sorted(path.name for path in (run / "checkpoints").glob("*.pt")) == ["step-00000006.pt", "step-00000007.pt"]
    for path in (run / "checkpoints").glob("*.pt"):
        path.write_bytes(b"")
    before = (run / "metrics.jsonl").read_text()
    nothing = pytest.raises(InvalidInput, match=r"No checkpoint of .* can be read")
    with pytest.warns(UserWarning, match="is damaged"), nothing:
        train(config_for("tiny/rrdb-pretrain", photos, dataset, *more, "steps=9"), run, recipe="r")
    assert (run / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_ctrl_c_with_workers_saves(photos, dataset, tmp_path):
    """A terminal sends Ctrl-C to the workers, too."""
    from goldeye.config import to_yaml

    more = ["data.workers=2", "accumulate=4", "steps=100000"]
    (tmp_path / "r.yaml").write_text(to_yaml(config_for("tiny/rrdb-pretrain", photos, dataset, *more)))
    command = [sys.executable, "-m", "goldeye", "train", str(tmp_path / "r.yaml"), "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "run")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert latest_step(tmp_path / "run") >= 3


def test_another_configuration_is_refused_and_fresh_starts_over(photos, dataset, tmp_path):
    run = tmp_path / "run"
    train(config_for("tiny/rrdb-pretrain", photos, dataset), run, recipe="r")
    with pytest.raises(InvalidInput, match=r"other settings: optimizer\.lr, seed"):
        train(config_for("tiny/rrdb-pretrain", photos, dataset, "seed=3", "optimizer.lr=1e-5"), run, recipe="r")
    longer = train(config_for("tiny/rrdb-pretrain", photos, dataset, "steps=8"), run, recipe="r")
    assert (longer.started_at, longer.step) == (6, 8)
    train(config_for("tiny/rrdb-pretrain", photos, dataset, "seed=3"), run, recipe="r", fresh=True)
    assert latest_step(run) == 6


def test_fresh_removes_only_what_a_run_wrote(photos, dataset, tmp_path):
    mine = tmp_path / "mine"
    config = config_for("tiny/rrdb-pretrain", photos, dataset)
    train(config, mine, recipe="r", fresh=True)
    (mine / "photos").mkdir()
    (mine / "letter.txt").write_text("dear")
    (mine / "photos" / "a.txt").write_text("dear")
    train(config_for("tiny/rrdb-pretrain", photos, dataset, "seed=3"), mine, recipe="r", fresh=True)
    assert (mine / "letter.txt").read_text() == (mine / "photos" / "a.txt").read_text() == "dear"


def test_a_failed_first_attempt_leaves_nothing_behind(photos, dataset, tmp_path):
    wrong = config_for("tiny/rrdb-pretrain", photos, dataset, "data.path=nowhere")
    with pytest.raises(InvalidInput, match="nowhere"):
        train(wrong, tmp_path / "run", recipe="r")
    assert not (tmp_path / "run").exists()
    train(config_for("tiny/rrdb-pretrain", photos, dataset), tmp_path / "run", recipe="r")


ELAN = ["generator.settings={m_elan: 2, c_elan: 15}", "steps=4", "data.crop=16", "data.batch=2", "ema=0", "log_every=1"]


def test_batch_norm_resumes_exactly_and_pictures_do_not_change_it(photos, tmp_path):
    """ELAN has batch norm, and without averaging the trained network itself draws the sample pictures."""
    states = []
    for every in (1, 2, 4):
        config = load_recipe("tiny/enhance-elan-noise", [*ELAN, f"data.path={photos}", f"checkpoint_every={every}"])
        train(config, tmp_path / str(every), recipe="r")
        states.append(weights(tmp_path / str(every)))
    short = load_recipe("tiny/enhance-elan-noise", [*ELAN, f"data.path={photos}", "steps=2"])
    train(short, tmp_path / "resumed", recipe="r")
    whole = load_recipe("tiny/enhance-elan-noise", [*ELAN, f"data.path={photos}"])
    train(whole, tmp_path / "resumed", recipe="r")
    states.append(weights(tmp_path / "resumed"))
    assert any("running_var" in key for key in states[0])
    for other in states[1:]:
        assert all(torch.equal(value, other[key]) for key, value in states[0].items())


def test_a_bad_batch_does_not_reach_batch_norm(photos):
    config = load_recipe("tiny/enhance-elan-noise", [*ELAN, f"data.path={photos}"])
    method = METHODS["pixel"](config, Engine("cpu"))
    bad = {"lr": torch.full((2, 3, 16, 16), torch.nan), "gt": torch.zeros(2, 3, 16, 16)}
    assert method.step([bad])["nonfinite"]
    assert all(value.isfinite().all() for value in method.inference_network().state_dict().values())


def test_killed_between_the_last_state_and_its_weights(photos, dataset, tmp_path):
    run = tmp_path / "run"
    config = config_for("tiny/rrdb-pretrain", photos, dataset)
    train(config, run, recipe="r")
    expected = weights(run)
    (run / "checkpoints" / "latest").write_text("step-00000003\n")
    (run / "checkpoints" / "step-00000006.safetensors").unlink()
    result = train(config, run, recipe="r")
    assert result.weights.name == "step-00000006.safetensors"
    assert all(torch.equal(value, expected[key]) for key, value in weights(run).items())
    shorter = train(config_for("tiny/rrdb-pretrain", photos, dataset, "steps=3"), run, recipe="r")
    assert shorter.step == 6  # it says what it has, not what was asked for
    (run / "checkpoints" / "latest").write_text("rubbish")
    with pytest.raises(InvalidInput, match="is damaged"):
        train(config, run, recipe="r")


def test_training_keeps_off_the_test_photos(dataset, tmp_path):
    import shutil

    shutil.copytree(dataset, tmp_path / "split")
    rows = [json.loads(line) for line in (tmp_path / "split" / "groups.jsonl").read_text().splitlines()]
    for row in rows:
        row["split"] = "test" if row["id"] == "both" else "train"
    (tmp_path / "split" / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = Dataset.open(tmp_path / "split")
    assert "both" not in [group.id for group in labelled_groups(opened, "original", None)]
    assert [group.id for group in labelled_groups(opened, "original", "test")] == ["both"]


def test_a_run_folder_holds_what_the_docs_say(photos, dataset, tmp_path):
    run = tmp_path / "run"
    train(config_for("tiny/rrdb-posneg", photos, dataset, "keep_checkpoints=1"), run, recipe="r")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "latest",
        "step-00000006.pt",
        "step-00000006.safetensors",
    ]
    assert list((run / "tensorboard").iterdir())
    assert (run / "samples" / "step-00000006.png").is_file()
    rows = read_metrics(run)
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert set(rows[0]) == {"step", "lr", "pixel", "adversarial", "negative", "loss", "d_real", "d_fake"}
    assert any(row["negative"] > 0 for row in rows)
    for row in rows:
        assert row["loss"] == pytest.approx(row["pixel"] + row["adversarial"] - row["negative"], rel=1e-5)
    # A line cut short by a crash is left out, not an error.
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    assert len(read_metrics(run)) == 6


def test_the_rate_falls_at_its_milestones(photos, dataset, tmp_path):
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "optimizer={lr: 0.01, milestones: [2, 4], gamma: 0.5}")
    train(config, tmp_path / "run", recipe="r")
    rates = [row["lr"] for row in read_metrics(tmp_path / "run")]
    # The rate that is logged is the one that the next step uses.
    assert rates == pytest.approx([0.01, 0.005, 0.005, 0.0025, 0.0025, 0.0025])


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_other_things_becomes_no_run(photos, dataset, tmp_path, fresh):
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "steps=1")
    before = sorted(photos.iterdir())
    with pytest.raises(InvalidInput, match="is no run and holds other files"):
        train(config, photos, recipe="r", fresh=fresh)
    assert "is no run and holds other files" in dry_run(config, "cpu", run=photos, measure=False)["problems"][0]
    assert sorted(photos.iterdir()) == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("my: settings")
    (other / "metrics.jsonl").write_text("{}")
    with pytest.raises(InvalidInput, match="is no run and holds other files"):
        train(config, other, recipe="r", fresh=fresh)
    assert (other / "metrics.jsonl").read_text() == "{}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".notes").touch()  # hidden ones do not count
    assert train(config, tmp_path / "run", recipe="r", fresh=fresh).step == 1


def test_running_statistics_are_averaged_as_the_weights_are():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    averaged = AveragedWeights(network, 0.75)
    with torch.no_grad():
        network[0].weight.fill_(4)
        network[1].running_mean.fill_(8)  # from 0
        network[1].running_var.fill_(5)  # from 1
        network[1].num_batches_tracked.fill_(3)
    before = averaged.module[0].weight.item()
    averaged.update(network)
    assert averaged.module[0].weight.item() == pytest.approx(0.75 * before + 0.25 * 4)
    assert (averaged.module[1].running_mean.item(), averaged.module[1].running_var.item()) == (2, 2)
    assert averaged.module[1].num_batches_tracked.item() == 3


def test_averaged_weights_by_hand(photos, dataset):
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "ema=0.9")
    torch.manual_seed(0)
    method = METHODS["pixel"](config, Engine("cpu"))
    data = build_dataset(config)
    batch = torch.utils.data.default_collate([data[0]])
    parameter = next(method.generator.network.parameters())
    expected = parameter.detach().clone()
    for _ in range(3):
        method.step([batch])
        expected = 0.9 * expected + 0.1 * parameter.detach()
    torch.testing.assert_close(next(method.inference_network().parameters()), expected)


def test_a_step_that_is_not_finite_changes_no_weight_and_the_run_stops(photos, dataset, tmp_path):
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "nonfinite.limit=2")
    torch.manual_seed(0)
    method = METHODS["pixel"](config, Engine("cpu"))
    before = [p.detach().clone() for p in method.generator.network.parameters()]
    bad = {"lr": torch.full((1, 3, 4, 4), torch.nan), "gt": torch.zeros(1, 3, 16, 16)}
    assert method.step([bad])["nonfinite"]
    assert all(torch.equal(a, b) for a, b in zip(before, method.generator.network.parameters(), strict=True))
    assert method.generator.scheduler.last_epoch == 1  # the schedule goes on

    explode = config_for("tiny/rrdb-pretrain", photos, dataset, "nonfinite.limit=2", "optimizer.lr=1e30")
    with pytest.raises(RunStopped, match="2 times in a row"):
        train(explode, tmp_path / "run", recipe="r")
    assert len(list((tmp_path / "run" / "nonfinite").iterdir())) == 2


def test_two_precisions_in_one_process(photos, dataset, tmp_path):
    finals = {}
    for precision in ("fp32", "bf16", "fp32"):
        run = tmp_path / f"{precision}-{len(finals)}"
        train(config_for("tiny/rrdb-original", photos, dataset, f"precision={precision}"), run, recipe="r")
        finals[run.name] = weights(run)
    one, bf16, other = finals.values()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert any(not torch.equal(one[key], bf16[key]) for key in one)
    assert all(value.dtype == torch.float32 for value in bf16.values())


def test_training_starts_from_given_weights(photos, dataset, tmp_path):
    start = tmp_path / "start"
    train(config_for("tiny/rrdb-pretrain", photos, dataset), start, recipe="r")
    config = config_for("tiny/rrdb-original", photos, dataset, f"generator.init={start}")
    method = METHODS["gan"](config, Engine("cpu"))
    expected = weights(start)
    assert all(torch.equal(value, expected[key]) for key, value in method.inference_network().state_dict().items())
    other = config_for(
        "tiny/rrdb-original", photos, dataset, f"generator.init={start}", "generator.settings.num_feat=12"
    )
    with pytest.raises(InvalidInput, match="does not fit"):
        METHODS["gan"](other, Engine("cpu"))


def test_training_learns(photos, dataset, tmp_path):
    config = config_for("tiny/rrdb-pretrain", photos, dataset, "steps=60", "optimizer.lr=5e-3", "checkpoint_every=60")
    train(config, tmp_path / "run", recipe="r")
    losses = [row["pixel"] for row in read_metrics(tmp_path / "run")]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_dry_run_finds_every_problem_before_step_one(photos, dataset, tmp_path):
    good = dry_run(config_for("tiny/rrdb-posneg", photos, dataset))
    assert good["ok"]
    assert good["plan"]["items"] == 3
    assert good["plan"]["samples"] == 12
    assert min(good["plan"]["parameters"].values()) > 1000
    assert good["plan"]["seconds_per_step"] > 0
    assert good["plan"]["memory_bytes"] > 4 * 4 * sum(good["plan"]["parameters"].values())
    assert json.dumps(good)
    broken = tmp_path / "photos"
    broken.mkdir()
    write_image(broken / "good.png", noisy(1))
    data = (broken / "good.png").read_bytes()
    (broken / "cut.png").write_bytes(data[: len(data) // 2])
    bad = dry_run(
        config_for("tiny/rrdb-pretrain", photos, dataset, f"data.path={broken}", "generator.init=nowhere.pth")
    )
    assert not bad["ok"]
    assert any("cut.png" in problem for problem in bad["problems"])
    assert any("nowhere.pth" in problem for problem in bad["problems"])


def test_workers_do_not_change_the_run(photos, dataset, tmp_path):
    for workers in (0, 2):
        config = config_for("tiny/rrdb-pretrain", photos, dataset, f"data.workers={workers}")
        train(config, tmp_path / str(workers), recipe="r")
    assert_same_run(tmp_path / "0", tmp_path / "2")


def test_the_network_is_not_wrapped_in_what_is_saved(photos, dataset, tmp_path):
    train(config_for("tiny/rrdb-pretrain", photos, dataset), tmp_path / "run", recipe="r")
    model = load_model(str(tmp_path / "run"))
    assert isinstance(model.module, nn.Module)
    assert "conv_first.weight" in model.module.state_dict()
    assert model.scale == 4
    assert model.metadata["recipe"] == "r"
