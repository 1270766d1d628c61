"""Training samples: crops with margins, sharpened targets, pairs, noise of a bank, lists of pictures, bad data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goldeye.cli import run
from goldeye.config import DataConfig, TrainConfig, load_recipe, to_yaml
from goldeye.curate.noise import collect_noise
from goldeye.curate.pairs import make_pairs
from goldeye.dataset.groups import DatasetSettings, DatasetWriter, Enhancer
from goldeye.dataset.multi_gt import MultiGTDataset
from goldeye.dataset.paired import PairedDataset
from goldeye.dataset.pictures import PictureCache
from goldeye.dataset.sampling import (
    Augmentation,
    LRMaker,
    Margins,
    Window,
    draw_augmentation,
    draw_crop,
    sample_index,
    sample_rng,
    strip,
)
from goldeye.dataset.synthetic import PhotoDataset
from goldeye.dataset.training import build_dataset
from goldeye.degrade import PRESETS, degrade_picture, get_pipeline
from goldeye.degrade.noise_bank import NoiseBank, add_noise
from goldeye.degrade.ops import sharpen
from goldeye.errors import InvalidInput
from goldeye.files import write_json
from goldeye.images import matlab_resize, read_image, to_float, to_uint8, write_image
from training_data import noisy


def smooth(seed: int, height: int, width: int) -> Any:
    """uint8 (H, W, 3) with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(coarse[:height, :width] + rng.normal(0, 10, (height, width, 3)), 0, 255).astype(np.uint8)


def hwc(tensor: torch.Tensor) -> Any:
    return tensor.numpy().transpose(1, 2, 0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        write_image(folder / f"{number}.png", smooth(number, 120, 160))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LR pixel (y, x) is [number, y, x], and so are the 4x4 GT pixels above it."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(3):
        y, x = np.mgrid[:20, :30]
        lr = np.stack([np.full_like(y, number), y, x], axis=-1).astype(np.uint8)
        write_image(folder / "LR" / f"p{number}_lq.png", lr)
        write_image(folder / "GT" / f"p{number}.png", lr.repeat(4, axis=0).repeat(4, axis=1))
    return folder


def pair_config(pairs: Path, **more: Any) -> DataConfig:
    return DataConfig(path=pairs / "GT", lr_path=pairs / "LR", source="pairs", crop=32, **more)


# --- crops and margins ------------------------------------------------------------------------------------------------


def test_margins_by_hand() -> None:
    window = Window(10, 50, 32)
    # 9 pixels are rounded up to 12; above there is room for 8 (10 rounded down), below for 20 - 0 of 62 - 42.
    assert window.margins((62, 200), 9, 4) == Margins(8, 12, 12, 12)
    assert window.margins((44, 82), 9, 4) == Margins(8, 0, 12, 0)
    assert window.margins((62, 200), 0, 4) == Margins()
    picture = np.arange(62 * 200).reshape(62, 200, 1)
    region = window.cut(picture, Margins(8, 12, 4, 0))
    assert region.shape == (52, 36, 1)
    assert np.array_equal(strip(region, Margins(8, 12, 4, 0)), picture[10:42, 50:82])
    assert strip(region[::4, ::4], Margins(8, 12, 4, 0), 4).shape == (8, 8, 1)


@given(
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.tuples(*[st.integers(0, 5)] * 4),
)
def test_an_augmented_region_holds_the_augmented_crop(x: bool, y: bool, turned: bool, around: Any) -> None:
    edit, margins, window = Augmentation(x, y, turned), Margins(*around), Window(5, 6, 4)
    picture = np.arange(16 * 18 * 3).reshape(16, 18, 3)
    region = edit(window.cut(picture, margins))
    assert np.array_equal(strip(region, edit.margins(margins)), edit(window.cut(picture)))


@pytest.mark.parametrize("name", PRESETS)
def test_an_lr_picture_depends_on_nothing_beyond_the_reach(name: str) -> None:
    """Everything outside is replaced by other content. Noise and JPEG, whose blocks are not counted, are left out."""
    pipeline = get_pipeline(name)
    scale = 1 if pipeline.keeps_size else 4
    around, side = 200, 64
    first = to_float(smooth(0, side + 2 * around, side + 2 * around))
    second = to_float(smooth(1, side + 2 * around, side + 2 * around))
    reaches = []
    for seed in range(8):
        parameters = pipeline.draw(np.random.default_rng(seed), scale)
        parameters["steps"] = [step for step in parameters["steps"] if step["step"] not in ("noise", "jpeg")]
        reach = -(-pipeline.reach(parameters) // scale) * scale
        reaches.append(reach)
        assert reach < around
        mixed = second.copy()
        inner = slice(around - reach, around + side + reach)
        mixed[inner, inner] = first[inner, inner]
        margins = Margins(*[around] * 4)
        one, other = (strip(pipeline.apply(gt, parameters), margins, scale) for gt in (first, mixed))
        # One level where a Fourier transform rounds differently. The pixels just inside a window that a resize by a
        # factor shifts may see one pixel more.
        assert np.abs(one - other)[1:-1, 1:-1].max() < 1.5 / 255, (seed, parameters)
    assert max(reaches) > 0


def test_the_reach_by_hand() -> None:
    steps = [
        {"step": "blur", "size": 9},  # 4
        {"step": "resize", "scale": 0.5, "mode": "bicubic"},  # 2, then a pixel is 2 GT pixels
        {"step": "blur", "size": 3},  # 2
        {"step": "resize", "scale": 0.8, "mode": "bilinear", "relative_to": "output"},  # 2, then 4 / 0.8 = 5
        {"step": "noise"},
        {"step": "resize_to_output", "mode": "bicubic"},  # 10, then 4
        {"step": "blur", "size": 5},  # 8
    ]
    pipeline = get_pipeline("real-esrgan")
    assert pipeline.reach({"scale": 4, "steps": steps}) == 4 + 2 + 2 + 2 + 10 + 8
    assert pipeline.reach({"scale": 4, "steps": [{"step": "bicubic"}]}) == 8
    assert pipeline.reach({"scale": 2, "steps": [{"step": "halve", "mode": "area"}, {"step": "blur", "size": 7}]}) == 7
    assert pipeline.reach({"scale": 4, "steps": []}) == 0


def test_bicubic_samples_are_crops_of_the_whole_lr_picture(photos: Path) -> None:
    """Without the margin every crop's border would be mirrored; with it the crop might come from a saved LR picture."""
    data = PhotoDataset(DataConfig(path=photos, degradation="bicubic", crop=32, augment="none"), scale=4, seed=3)
    whole: dict[Path | int, Any] = {
        path: to_uint8(matlab_resize(to_float(read_image(path)), 30, 40)) for path in data.pictures()
    }
    compared = 0
    for number in range(400):
        path = data.photos[sample_index(3, number, 3)]
        window = draw_crop(sample_rng(3, number), (120, 160), 32)
        if window.y % 4 or window.x % 4:
            continue
        y, x = window.y // 4, window.x // 4
        assert np.array_equal(to_uint8(hwc(data[number]["lr"])), whole[path][y : y + 8, x : x + 8])
        compared += 1
    assert compared > 10


def test_a_photo_of_the_crops_size_has_no_margin(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", smooth(1, 64, 64))
    config = DataConfig(path=tmp_path, degradation="real-esrgan", crop=64, augment="none")
    sample = PhotoDataset(config, scale=4, seed=0)[0]
    rng = sample_rng(0, 0)
    rng.integers(1, size=2)  # the window
    rng.random(3)
    expected, _ = degrade_picture(to_float(read_image(tmp_path / "a.png")), get_pipeline("real-esrgan"), rng, 4)
    assert np.array_equal(hwc(sample["lr"]), expected)


# --- sharpened targets ------------------------------------------------------------------------------------------------


def test_sharpened_targets_of_photos(photos: Path) -> None:
    config = DataConfig(path=photos, degradation="bicubic", usm=True, crop=32, augment="none")
    data, plain = (PhotoDataset(one, scale=4, seed=1) for one in (config, config.model_copy(update={"usm": None})))
    for number in range(6):
        sample = data[number]
        window = draw_crop(sample_rng(1, number), (120, 160), 32)
        photo = to_float(read_image(Path(str(data.photos[sample_index(1, number, 3)]))))
        assert np.array_equal(hwc(sample["gt"]), window.cut(photo))
        assert torch.equal(sample["gt"], plain[number]["gt"])
        # The second Gaussian of the mask reaches further than the margin.
        error = np.abs(hwc(sample["gt_usm"]) - window.cut(sharpen(photo)))
        assert (error.max(), error.mean()) < (6 / 255, 0.5 / 255)
        assert np.abs(hwc(sample["gt_usm"] - sample["gt"])).max() > 20 / 255
        assert not torch.equal(sample["lr"], plain[number]["lr"])
        small = matlab_resize(hwc(sample["gt_usm"]), 8, 8)
        assert np.abs(hwc(sample["lr"]) - np.clip(small, 0, 1))[2:-2, 2:-2].max() < 1 / 255
    assert set(plain[0]) == {"lr", "gt"}


def test_unless_told_the_preset_says_whether_targets_are_sharpened(photos: Path, tmp_path: Path) -> None:
    preset = tmp_path / "sharp.yaml"
    preset.write_text("extends: bicubic\nsharpen: true\n")
    config = DataConfig(path=photos, degradation=str(preset), crop=32)
    told = DataConfig(path=photos, degradation="bicubic", usm=True, crop=32)
    not_told = DataConfig(path=photos, degradation=str(preset), usm=False, crop=32)
    plain = DataConfig(path=photos, degradation="bicubic", crop=32)
    samples = [PhotoDataset(one, scale=4, seed=0)[5] for one in (config, told, not_told, plain)]
    assert set(samples[0]) == {"lr", "gt", "gt_usm"}
    assert all(torch.equal(samples[0][key], samples[1][key]) for key in samples[0])
    assert all(torch.equal(samples[2][key], samples[3][key]) for key in samples[3])


def labelled(folder: Path) -> Path:
    """Two groups of 80 pixels: one with a positive, one with a negative, one vote each; and one without votes."""
    writer = DatasetWriter(folder, DatasetSettings(patch_size=80, enhancers=(Enhancer(name="e", slot="01"),)))
    for number, name in enumerate(("good", "bad", "new")):
        original, other = noisy(number, 80), noisy(10 + number, 80)
        writer.add(name, original, {"01": other}, source=name, source_sha256="", y=0, x=0, scores={})
    writer.finish(dict.fromkeys(("good", "bad", "new"), "train"))
    for name, label in (("good", "Positive"), ("bad", "Negative")):
        document = {
            "Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None},
            "Picture_2": {"Name": f"{name}_01.png", "File": "01", "Label": label},
            "Time_cost": {"Start": "2026-01-01 00:00:00", "End": "2026-01-01 00:00:20", "Total": 20},
        }
        write_json(folder / "labels" / "0-3" / "A" / f"{name}.json", document)
    return folder


def test_sharpened_targets_of_a_dataset(tmp_path: Path) -> None:
    """The LR comes from the sharpened original, gt_usm from the target; the maps' pictures stay as they are."""
    labelled(tmp_path / "data")
    config = DataConfig(
        path=tmp_path / "data", source="dataset", target="positive+negative", degradation="bicubic", usm=True, crop=80
    )
    data = MultiGTDataset(config.model_copy(update={"augment": "none"}), scale=4, seed=0)
    for number in range(2):
        group, sample = data.groups[sample_index(0, number, 2)], data[number]
        original = to_float(read_image(group.original))
        target = to_float(read_image(group.positives[0].path)) if group.positives else original
        assert np.array_equal(hwc(sample["original"]), original)
        assert np.array_equal(hwc(sample["gt"]), target)
        assert np.array_equal(hwc(sample["gt_usm"]), sharpen(target))
        expected = get_pipeline("bicubic").apply(sharpen(original), {"scale": 4, "steps": [{"step": "bicubic"}]})
        assert np.array_equal(hwc(sample["lr"]), expected)
        assert set(sample) >= {"negative", "positive", "negative_weight", "has_negative"}


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_are_cropped_at_the_same_place(pairs: Path) -> None:
    data = PairedDataset(pair_config(pairs, augment="flip+rotate"), scale=4, seed=0)
    corners = set()
    for number in range(30):
        sample = data[number]
        lr, gt = hwc(sample["lr"]), hwc(sample["gt"])
        assert lr.shape == (8, 8, 3)
        assert np.array_equal(gt, lr.repeat(4, axis=0).repeat(4, axis=1))
        corners.add(tuple(np.rint(lr[0, 0] * 255).astype(int)))
    assert len(corners) > 25
    assert {corner[0] for corner in corners} == {0, 1, 2}
    assert data.describe()["items"] == 3
    assert len(data.pictures()) == 6
    assert list(data.check()) == [None] * 6


def test_pairs_of_one_size_and_their_sharpened_targets(pairs: Path) -> None:
    """CameraSR's pairs: scale 1. The LR picture is nobody's to sharpen."""
    config = DataConfig(
        path=pairs / "GT", lr_path=pairs / "GT", source="pairs", crop=32, usm=True, augment="flip+rotate"
    )
    data = PairedDataset(config, scale=1, seed=0)
    for number in range(8):
        sample = data[number]
        assert torch.equal(sample["lr"], sample["gt"])
        assert sample["gt_usm"].shape == sample["gt"].shape
    assert "gt_usm" not in PairedDataset(pair_config(pairs), scale=4, seed=0)[0]


def test_pairs_of_the_command_train(photos: Path, tmp_path: Path) -> None:
    """EDL's way from photos to samples: the LR is what bicubic makes of the HR file, with noise of the bank on it."""
    make_pairs(photos, tmp_path / "pairs", clean=1)
    collect_noise(photos, tmp_path / "bank", auxiliary=None, rule="cati", patch=16, share=0.1)
    config = load_recipe(
        "tiny/rrdb-pretrain",
        [
            "data={source: pairs, degradation: null, crop: 32, augment: none}",
            f"data.path={tmp_path / 'pairs' / 'HR'}",
            f"data.lr_path={tmp_path / 'pairs' / 'LR'}",
            f"data.noise_bank={tmp_path / 'bank'}",
        ],
    )
    data = build_dataset(config)
    clean = build_dataset(config.model_copy(update={"data": config.data.model_copy(update={"noise_bank": None})}))
    bank = NoiseBank.open(tmp_path / "bank")
    for number in range(5):
        sample = data[number]
        assert torch.equal(sample["gt"], clean[number]["gt"])
        rng = sample_rng(0, number)
        rng.integers(23)
        rng.integers(33)
        rng.random(3)
        expected = add_noise(hwc(clean[number]["lr"]), bank.draw(rng, 8, 8))
        assert np.array_equal(hwc(sample["lr"]), expected)
        assert not torch.equal(sample["lr"], clean[number]["lr"])
    assert data.describe()["noise_bank"] == {"path": str(tmp_path / "bank"), "patches": len(bank)}
    assert TrainConfig.model_validate(json.loads(config.model_dump_json())) == config
    with pytest.raises(InvalidInput, match="fewer than an LR crop of 17"):
        PairedDataset(config.data.model_copy(update={"crop": 68}), scale=4, seed=0)


def test_noise_of_a_bank_on_degraded_photos(photos: Path, tmp_path: Path) -> None:
    collect_noise(photos, tmp_path / "bank", auxiliary=None, rule="cati", patch=16, share=0.1)
    config = DataConfig(path=photos, degradation="bicubic", crop=32)
    noisy_data = PhotoDataset(config.model_copy(update={"noise_bank": tmp_path / "bank"}), scale=4, seed=0)
    plain = PhotoDataset(config, scale=4, seed=0)
    for number in range(4):
        assert torch.equal(noisy_data[number]["gt"], plain[number]["gt"])
        change = noisy_data[number]["lr"] - plain[number]["lr"]
        assert 0.01 < change.abs().mean() < 0.4
    # As a step of a pipeline the noise is added at the size of the picture: its patches need no room for margins.
    step = tmp_path / "bank.yaml"
    step.write_text(f"steps: [{{step: bicubic}}, {{step: bank_noise, bank: '{tmp_path / 'bank'}'}}]\n")
    config = DataConfig(path=photos, degradation=str(step), crop=64)
    assert PhotoDataset(config, scale=4, seed=0)[0]["lr"].shape == (3, 16, 16)


def test_pairs_in_several_folders(pairs: Path) -> None:
    both = (pairs / "GT", pairs / "GT")
    data = PairedDataset(
        DataConfig(path=both, lr_path=(pairs / "LR", pairs / "LR"), source="pairs", crop=32), scale=4, seed=0
    )
    assert len(data) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("size", r"p1\.png' is 120x76 and its LR picture 30x20, not 4 times smaller \(1 more pairs are wrong\)"),
        ("missing", r"lacks 1 of 3 pictures: p2"),
        ("small", r"smaller than the crop of 128 \(2 more are too small\)"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(pairs: Path, tmp_path: Path, change: str, message: str) -> None:
    import shutil

    shutil.copytree(pairs, tmp_path / "pairs")
    crop = 32
    if change == "size":
        for name in ("p1", "p2"):
            write_image(tmp_path / "pairs" / "GT" / f"{name}.png", smooth(0, 76, 120))
    elif change == "missing":
        (tmp_path / "pairs" / "LR" / "p2_lq.png").unlink()
    else:
        crop = 128
    with pytest.raises(InvalidInput, match=message):
        PairedDataset(pair_config(tmp_path / "pairs").model_copy(update={"crop": crop}), scale=4, seed=0)


# --- which pictures ---------------------------------------------------------------------------------------------------


def test_meta_info_of_photos(photos: Path, tmp_path: Path) -> None:
    listing = tmp_path / "meta_info.txt"
    listing.write_text("2.png (120,160,3)\n\n0.png\n")
    data = PhotoDataset(DataConfig(path=photos, meta_info=listing, crop=32), scale=4, seed=0)
    assert data.pictures() == [photos / "2.png", photos / "0.png"]
    write_image(tmp_path / "more" / "sub dir" / "a, b (1).png", smooth(5, 40, 40))
    listing.write_text("sub dir/a.png\n1.png (120,160,3)\nnowhere.png\n")
    several = DataConfig(path=(photos, tmp_path / "more"), meta_info=listing, crop=32)
    with pytest.raises(InvalidInput, match=r"2 of 3 pictures of .* are not in .*photos.*more': sub dir/a.png, nowhere"):
        PhotoDataset(several, scale=4, seed=0)
    write_image(tmp_path / "more" / "sub dir" / "a.png", smooth(5, 40, 40))
    listing.write_text("sub dir/a.png\n1.png (120,160,3)\n")
    assert PhotoDataset(several, scale=4, seed=0).pictures() == [
        tmp_path / "more" / "sub dir" / "a.png",
        photos / "1.png",
    ]
    listing.write_text("\n")
    with pytest.raises(InvalidInput, match="lists no pictures"):
        PhotoDataset(several, scale=4, seed=0)


def test_meta_info_of_pairs(pairs: Path, tmp_path: Path) -> None:
    listing = tmp_path / "meta_info.txt"
    listing.write_text("p1.png, p1_lq.png\np0.png, p0_lq.png\n")
    data = PairedDataset(pair_config(pairs, meta_info=listing), scale=4, seed=0)
    assert [Path(str(gt)).name for gt, _ in data.pairs] == ["p1.png", "p0.png"]
    listing.write_text("p1.png\n")
    same = DataConfig(path=pairs / "GT", lr_path=pairs / "GT", source="pairs", meta_info=listing, crop=32)
    assert len(PairedDataset(same, scale=1, seed=0)) == 1
    with pytest.raises(InvalidInput, match=r"1 of 1 pictures of .*LR': p1\.png"):
        PairedDataset(pair_config(pairs, meta_info=listing), scale=4, seed=0)
    listing.write_text("a.png, b.png, c.png\n")
    with pytest.raises(InvalidInput, match="more than a GT and an LR"):
        PairedDataset(pair_config(pairs, meta_info=listing), scale=4, seed=0)


def test_several_folders_of_photos(photos: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "other" / "0.png", smooth(9, 50, 50))
    text = f"[{photos}, {tmp_path / 'other'}]"
    config = load_recipe("tiny/rrdb-pretrain", [f"data.path={text}"])
    assert config.data.paths == (photos, tmp_path / "other")
    data = build_dataset(config)
    assert len(data) == 4
    described = data.describe()
    assert (described["smallest"], described["largest"]) == ([50, 50], [120, 160])
    assert described["folders"] == [str(photos), str(tmp_path / "other")]
    assert f"- {photos}\n" in to_yaml(config)
    json.dumps(described, allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "pairs", "degradation": "hggt"}, "pairs have their LR pictures: data.degradation must be null"),
        ({"degradation": None}, "source 'photos' needs data.degradation"),
        ({"lr_path": "lr"}, "set data.source to 'pairs'"),
        ({"source": "pairs", "path": ["a", "b"], "lr_path": "lr"}, "2 folders of GT and 1 of LR"),
        ({"source": "dataset", "path": ["a", "b"]}, "takes one dataset"),
        ({"source": "dataset", "meta_info": "x.txt"}, "meta_info is for photos and pairs"),
        ({"source": "pairs", "target": "positive"}, "needs labels"),
        ({"source": "pairs", "split": "train"}, "source 'pairs' has no splits"),
        ({"path": []}, "at least 1"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate(settings)


def test_missing_data_is_named(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"set data\.lr_path"):
        PairedDataset(DataConfig(path=pairs / "GT", source="pairs"), scale=4, seed=0)
    with pytest.raises(InvalidInput, match=r"No pairs to train on"):
        PairedDataset(DataConfig(source="pairs"), scale=4, seed=0)
    with pytest.raises(InvalidInput, match=r"nowhere"):
        PairedDataset(DataConfig(path=tmp_path / "nowhere", lr_path=pairs / "LR", source="pairs"), scale=4, seed=0)
    with pytest.raises(InvalidInput, match=r"There is no file .*list\.txt"):
        PhotoDataset(DataConfig(path=pairs / "GT", meta_info=tmp_path / "list.txt"), scale=4, seed=0)
    with pytest.raises(InvalidInput, match="no noise bank"):
        LRMaker(DataConfig(path=pairs, noise_bank=tmp_path), 4)


def test_the_dry_run_of_pairs(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "tiny/rrdb-pretrain", "--dry-run", "--no-measure", "--json", "--set", "data.degradation=null"]
    words += ["--set", "data.source=pairs", "--set", f"data.path={pairs / 'GT'}", "--set", "data.crop=32"]
    assert run([*words, "--set", f"data.lr_path={pairs / 'LR'}"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["items"] == 3
    assert run([*words, "--set", f"data.lr_path={pairs / 'GT'}"]) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert any("not 4 times smaller" in problem for problem in problems)


# --- samples of a dataset, and the rest -------------------------------------------------------------------------------


def test_what_a_dataset_tells_about_itself(tmp_path: Path) -> None:
    labelled(tmp_path / "data")

    def described(**more: Any) -> dict[str, Any]:
        config = DataConfig(path=tmp_path / "data", source="dataset", crop=32, **more)
        return MultiGTDataset(config, scale=4, seed=0).describe()

    both = described(target="positive+negative")
    assert (both["items"], both["left_out"]) == (2, {"without votes": 1})
    assert both["groups_by_votes"] == {"1": 2}
    assert both["groups_by_positives"] == {"0": 1, "1": 1}
    assert both["groups_with_negatives"] == 1
    assert described(target="positive")["left_out"] == {"without votes": 1, "without a positive": 1}
    assert described()["left_out"] == {}
    json.dumps(both, allow_nan=False)


def test_every_number_of_a_long_run_is_cheap(photos: Path) -> None:
    """The order of an epoch is drawn once, not for every sample."""
    import time

    sample_index(7, 0, 400_000)
    begin = time.perf_counter()
    for number in range(2000):
        sample_index(7, number, 400_000)
    assert time.perf_counter() - begin < 0.5  # a permutation of 400,000 takes 10 ms


def test_a_worker_gets_no_pictures_of_its_parent(photos: Path) -> None:
    import pickle

    cache = PictureCache()
    for path in photos.iterdir():
        cache.read(path)
    assert len(pickle.dumps(cache)) < 1000
    config = DataConfig(path=photos, crop=32)
    data = PhotoDataset(config, scale=4, seed=0)
    first = data[0]
    again = pickle.loads(pickle.dumps(data))[0]
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_augmentation_draws_the_same_numbers_in_every_mode() -> None:
    rngs = [np.random.default_rng(4) for _ in range(3)]
    for rng, mode in zip(rngs, ("none", "flip", "flip+rotate"), strict=True):
        draw_augmentation(rng, mode)
    assert len({float(rng.random()) for rng in rngs}) == 1
