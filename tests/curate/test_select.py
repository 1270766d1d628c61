"""Patches from candidates: scores against a direct computation, what is drawn, what is written, what is refused."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye import cli
from goldeye.curate.draw import draw_windows
from goldeye.curate.engines import choose_engine
from goldeye.curate.enhance import enhance_photos
from goldeye.curate.select import PRESETS, SelectSettings, select_patches, select_text
from goldeye.dataset.groups import Dataset
from goldeye.errors import ImageError, InvalidInput
from goldeye.files import sole_user
from goldeye.images import Picture, read_image, write_image

SETTINGS = SelectSettings(patch_size=32, stride=8, min_std=10, min_high_frequency=4, seed=1)


def changed(**values: Any) -> SelectSettings:
    return SelectSettings(**SETTINGS.model_dump() | values)


def noise(seed: int, height: int, width: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(seed: int, height: int = 72, width: int = 88) -> Picture:
    """Texture on the left, a flat background on the right."""
    picture: Picture = noise(seed, height, width)
    picture[:, width // 2 :] = 128
    return picture


def sharpened(picture: Picture) -> Picture:
    """A checkerboard of ±10 laid over: its mean is 0."""
    checker = np.indices(picture.shape[:2]).sum(axis=0) % 2 * 20 - 10
    changed: Picture = (picture.astype(int) + checker[..., None]).clip(0, 255).astype(np.uint8)
    return changed


def make_candidates(root: Path, pictures: dict[str, Picture], version: Any = sharpened) -> Path:
    """Candidates with an unchanged copy in slot 01 and `version` in slot 02."""
    for name, picture in pictures.items():
        write_image(root / "photos" / name, picture)
        write_image(root / "copy" / name, picture)
        write_image(root / "made" / name, version(picture))
    folders = {"copy": root / "copy", "made": root / "made"}
    enhance_photos(root / "photos", root / "candidates", enhancers={}, folders=folders)
    return root / "candidates"


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    names = ("a.png", "b.png", "deep/c.png", "d.png")
    return make_candidates(tmp_path, {name: photo(seed) for seed, name in enumerate(names)})


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_change_that_keeps_the_mean_is_a_difference(tmp_path: Path) -> None:
    """The trap of the paper's script, which takes |mean(a - b)|: 0 for the checkerboard, whose |a - b| is 10."""
    picture: Picture = noise(0, 64, 64).clip(20, 235).astype(np.uint8)
    assert abs((sharpened(picture).astype(int) - picture).mean()) < 1e-9
    summary = select_patches(make_candidates(tmp_path, {"a.png": picture}), tmp_path / "set", SETTINGS)
    assert summary["groups"] > 0


def test_unchanged_copies_give_no_group(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path, {"a.png": noise(0, 64, 64)}, version=lambda picture: picture)
    with pytest.raises(InvalidInput, match=r"of 25 windows of 32 pixels, texture removed 0, .* difference removed 25"):
        select_patches(candidates, tmp_path / "set", SETTINGS)
    assert not (tmp_path / "set").exists()


def test_at_the_defaults_too(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path, {"a.png": noise(0, 520, 530)}, version=lambda picture: picture)
    with pytest.raises(InvalidInput, match="difference removed 2"):
        select_patches(candidates, tmp_path / "set", SelectSettings())
    write_image(tmp_path / "made2" / "a.png", sharpened(noise(0, 520, 530)))
    folders = {"made": tmp_path / "made2"}
    enhance_photos(tmp_path / "photos", tmp_path / "candidates2", enhancers={}, folders=folders)
    assert select_patches(tmp_path / "candidates2", tmp_path / "set", SelectSettings())["groups"] == 1


def test_the_dataset_needs_a_folder_of_its_own(tmp_path: Path, candidates: Path) -> None:
    before = files(candidates)
    for output in (candidates, candidates / "original" / "set"):
        with pytest.raises(InvalidInput, match="needs a folder of its own"):
            select_patches(candidates, output, SETTINGS)
    candidates.rename(tmp_path / "images")
    with pytest.raises(InvalidInput, match="needs a folder of its own"):
        select_patches(tmp_path / "images", tmp_path, SETTINGS)
    assert files(tmp_path / "images") == before


def test_pictures_of_somebody_else_are_not_removed(tmp_path: Path, candidates: Path) -> None:
    select_patches(candidates, tmp_path / "set", SETTINGS, preview=True)
    write_image(tmp_path / "set" / "images" / "holiday.png", photo(0))
    with pytest.raises(InvalidInput, match="was not left by an interrupted selection"):
        select_patches(candidates, tmp_path / "set", SETTINGS)
    assert (tmp_path / "set" / "images" / "holiday.png").exists()


def test_one_command_at_a_time_writes_into_a_folder(tmp_path: Path, candidates: Path) -> None:
    pytest.importorskip("fcntl")
    output = tmp_path / "set"
    for preview in (False, True):
        with sole_user(output), pytest.raises(InvalidInput, match="Another goldeye command is writing into"):
            select_patches(candidates, output, SETTINGS, preview=preview)
    assert not list(output.iterdir())
    assert select_patches(candidates, output, SETTINGS)["groups"] > 0


def test_small_photos_start_no_threads(tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise AssertionError("a thread pool")

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    for module in ("cut", "scores"):
        monkeypatch.setattr(f"goldeye.curate.{module}.ThreadPoolExecutor", refuse)
    select_patches(candidates, tmp_path / "set", SETTINGS)
    monkeypatch.setattr("goldeye.curate.cut._SMALL", 0)
    with pytest.raises(AssertionError, match="a thread pool"):
        select_patches(candidates, tmp_path / "other", SETTINGS)


def test_flat_background_is_never_chosen(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "set", changed(min_std=42.0))
    dataset = Dataset.open(tmp_path / "set")
    assert summary["rejected"]["texture"] > 0
    for group in dataset.groups:
        assert group.x is not None
        assert group.x < 44  # no patch lies wholly in the flat right half…
        assert group.scores is not None
        assert group.scores["std"] >= 42  # …nor mostly
        assert group.x < 32


def test_a_version_with_texture_lets_a_flat_original_pass(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path, {"a.png": np.full((40, 40, 3), 99, np.uint8)}, lambda p: noise(3, 40, 40))
    assert select_patches(candidates, tmp_path / "set", SETTINGS)["groups"] > 0


def test_patches_are_crops_with_their_provenance(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "set", SETTINGS)
    dataset = Dataset.open(tmp_path / "set")
    dataset.check()
    assert len(dataset.groups) == summary["groups"] > 8
    assert dataset.enhancer_names == {"01": "copy", "02": "made"}
    assert dataset.settings.patch_size == 32
    assert dataset.settings.thresholds == {"min_std": 10, "min_high_frequency": 4, "min_difference": 2}
    assert dataset.settings.selection["seed"] == 1
    for group in dataset.groups:
        assert group.source is not None
        assert group.y is not None
        assert group.x is not None
        assert group.id == f"{group.source.removesuffix('.png').replace('/', '_')}-{group.y}-{group.x}"
        area = np.s_[group.y : group.y + 32, group.x : group.x + 32]
        for path, folder in ((group.original, "original"), (group.candidates["02"], "made")):
            assert np.array_equal(read_image(path), read_image(candidates / folder / group.source)[area])
        original, made = read_image(group.original).astype(int), read_image(group.candidates["02"])
        assert group.scores is not None
        assert group.scores["difference"] == {"01": 0, "02": pytest.approx(np.abs(original - made).mean(), abs=1e-4)}
    counted = summary["rejected"]
    assert sum(counted.values()) + summary["groups"] == summary["windows"] == 4 * 6 * 8


def test_the_seed_decides_everything(tmp_path: Path, candidates: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        select_patches(candidates, tmp_path / name, changed(seed=seed, test_fraction=0.5))
    assert files(tmp_path / "one") == files(tmp_path / "again")
    one, other = ({group.id for group in Dataset.open(tmp_path / name).groups} for name in ("one", "other"))
    assert one != other


def test_a_photos_patches_do_not_hang_on_the_others(tmp_path: Path, candidates: Path) -> None:
    select_patches(candidates, tmp_path / "all", SETTINGS)
    alone = make_candidates(tmp_path / "alone", {"b.png": photo(1)})
    select_patches(alone, tmp_path / "one", SETTINGS)
    of_b = [{g.id for g in Dataset.open(tmp_path / n).groups if g.source == "b.png"} for n in ("all", "one")]
    assert of_b[0] == of_b[1] != set()


def test_splits_are_by_photo(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "half", changed(test_fraction=0.5))
    groups = Dataset.open(tmp_path / "half").groups
    by_photo = {source: {g.split for g in groups if g.source == source} for source in summary["photos"]}
    assert sorted(map(tuple, by_photo.values())) == [("test",), ("test",), ("train",), ("train",)]
    assert summary["test_photos"] == sorted(source for source, split in by_photo.items() if split == {"test"})

    named = changed(test=("deep/c", "a.png"))
    summary = select_patches(candidates, tmp_path / "named", named)
    assert summary["test_photos"] == ["a.png", "deep/c.png"]
    assert {g.source for g in Dataset.open(tmp_path / "named", "test").groups} == {"a.png", "deep/c.png"}
    with pytest.raises(InvalidInput, match=r"Unknown test photo 'deep/d'\. Did you mean 'deep/c'"):
        select_patches(candidates, tmp_path / "no", changed(test=("deep/d",)))
    with pytest.raises(InvalidInput, match="not both"):
        select_patches(candidates, tmp_path / "no", changed(test=("a",), test_fraction=0.1))
    assert not (tmp_path / "no").exists()


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 40), st.integers(4, 20), st.floats(0, 1), st.integers(0, 999))
def test_drawn_windows_overlap_little_and_no_more_fit(size: int, stride: int, overlap: float, seed: int) -> None:
    chosen_settings = SelectSettings(patch_size=size, stride=stride, max_overlap=overlap)
    ys, xs = np.arange(0, 60, stride), np.arange(0, 50, stride)
    rng = np.random.default_rng(seed)
    passing = rng.random((len(ys), len(xs))) < 0.5
    chosen = draw_windows(ys, xs, passing, chosen_settings, rng)

    def shared(a: tuple[int, int], b: tuple[int, int]) -> int:
        sides = [max(0, size - abs(int(axis[i]) - int(axis[j]))) for axis, i, j in zip((ys, xs), a, b, strict=True)]
        return sides[0] * sides[1]

    def fits(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return shared(a, b) == 0 or shared(a, b) < overlap * size**2

    assert len(set(chosen)) == len(chosen)
    assert all(passing[window] for window in chosen)
    assert all(fits(a, b) for a in chosen for b in chosen if a != b)
    left = {(int(row), int(column)) for row, column in np.argwhere(passing)} - set(chosen)
    assert not any(all(fits(window, other) for other in chosen) for window in left)


def test_most_patches_of_a_photo(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "set", changed(per_photo=2))
    assert set(summary["photos"].values()) == {2}


def test_small_photos_are_passed_over_and_named(tmp_path: Path) -> None:
    both = make_candidates(tmp_path / "both", {"large.png": photo(0), "small.png": photo(1, 31, 80)})
    assert select_patches(both, tmp_path / "set", SETTINGS)["too_small"] == ["small.png"]
    small = make_candidates(tmp_path / "small", {"small.png": photo(1, 31, 80)})
    with pytest.raises(InvalidInput, match="All 1 photos are smaller than the patch of 32 pixels"):
        select_patches(small, tmp_path / "none", SETTINGS)


def test_what_the_hint_says_lets_patches_pass(tmp_path: Path, candidates: Path) -> None:
    strict = changed(min_std=500.0, min_high_frequency=400.0, min_difference=100.0)
    with pytest.raises(InvalidInput, match="texture removed 192") as caught:
        select_patches(candidates, tmp_path / "set", strict)
    words = str(caught.value.hint).replace(",", "").rstrip(".").split()
    reached = {key: float(words[words.index(key) + 1]) for key in ("min_std", "min_high_frequency")}
    loosened = strict.model_copy(update=reached | {"min_difference": 2.0})
    for key in reached:  # each of them by itself lets a window pass
        one = changed(**{key: getattr(loosened, key)})
        assert select_patches(candidates, tmp_path / key, one)["groups"] >= 1


def test_candidates_must_be_there(tmp_path: Path, candidates: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no candidates"):
        select_patches(tmp_path / "photos", tmp_path / "set", SETTINGS)


def test_a_picture_that_cannot_be_used_costs_its_photo_alone(tmp_path: Path, candidates: Path) -> None:
    select_patches(candidates, tmp_path / "whole", SETTINGS)
    write_image(candidates / "made" / "b.png", noise(0, 40, 50))
    (candidates / "copy" / "a.png").write_bytes((candidates / "copy" / "a.png").read_bytes()[:900])
    (candidates / "original" / "d.png").unlink()
    for how in (SETTINGS, changed(min_std="1%")):  # in one pass, and with the scores first
        output = tmp_path / str(how.min_std)
        summary = select_patches(candidates, output, how)
        told = {entry["photo"]: entry["error"] for entry in summary["failed"]}
        assert list(told) == ["a.png", "b.png", "d.png"]
        assert "truncated or damaged" in told["a.png"]
        assert "b.png' is 50x40, its photo 88x72" in told["b.png"]
        assert "There is no picture" in told["d.png"]
        assert set(summary["photos"]) == {"deep/c.png"}
        assert {group.source for group in Dataset.open(output).groups} == {"deep/c.png"}
    (candidates / "made" / "deep" / "c.png").unlink()
    with pytest.raises(InvalidInput, match=r"None of the 4 photos can be used: '.*a\.png' is truncated"):
        select_patches(candidates, tmp_path / "none", SETTINGS)


def test_the_command_names_what_failed_and_exits_1(
    tmp_path: Path, candidates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (candidates / "made" / "b.png").write_bytes(b"no picture")
    small = ["--patch-size", "32", "--stride", "8", "--min-std", "10", "--min-high-frequency", "4", "--seed", "1"]
    assert cli.run(["select", str(candidates), "-o", str(tmp_path / "set"), *small]) == 1
    out, err = capsys.readouterr()
    assert "b.png: '" in err
    assert "groups of 3 photos" in out
    assert cli.run(["select", str(candidates), "-o", str(tmp_path / "json"), *small, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "goldeye.select/1"
    assert document["thresholds"] == {"min_std": 10, "min_high_frequency": 4, "min_difference": 2}
    assert [entry["photo"] for entry in document["failed"]] == ["b.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-std", "much"], "a quantile such as 40%, is wanted, not 'much' (min_std)"),
        (["--min-difference", "-1"], "wanted, not '-1' (min_difference)"),
        (["--min-difference", "101%"], "wanted, not '101%'"),
        (["--min-std", "nan"], "wanted, not 'nan'"),
        (["--measure", "sobel"], "'pyramid' or 'laplacian'"),
        (["--preset", "papr"], "Did you mean 'paper'?"),
        (["--engine", "rya"], "Did you mean 'ray'?"),
        (["--test", "a", "--test-fraction", "0.5"], "not both"),
        (["--test", "q"], "Unknown test photo 'q'"),
    ],
)
def test_wrong_settings_are_refused_before_work_starts(
    tmp_path: Path, candidates: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.run(["select", str(candidates), "-o", str(tmp_path / "set"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_photos_whose_patches_would_share_names_are_refused(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path, {"deep/c.png": photo(0), "deep_c.png": photo(1)})
    with pytest.raises(InvalidInput, match="would have the same names"):
        select_patches(candidates, tmp_path / "set", SETTINGS)


def test_half_the_area_is_too_much_to_share() -> None:
    ys, xs, passing = np.array([0]), np.array([0, 16]), np.ones((1, 2), bool)
    rng = np.random.default_rng(0)
    assert len(draw_windows(ys, xs, passing, SelectSettings(patch_size=32), rng)) == 1
    assert len(draw_windows(ys, np.array([0, 17]), passing, SelectSettings(patch_size=32), rng)) == 2


def test_photos_may_be_named_as_our_own_files(tmp_path: Path) -> None:
    names = ("plan.png", "scores.png", "original.png", "01.png", "summary.png", "pictures.png")
    candidates = make_candidates(tmp_path, {name: photo(seed) for seed, name in enumerate(names)})
    for how in (changed(per_photo=2), changed(per_photo=2, min_std="10%")):
        assert set(select_patches(candidates, tmp_path / str(how.min_std), how)["photos"].values()) == {2}


def test_patches_of_16_pixels(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "set", changed(patch_size=16, stride=5))
    assert summary["groups"] > 100
    assert read_image(Dataset.open(tmp_path / "set").groups[0].original).shape == (16, 16, 3)


def test_preset_paper_is_the_official_script(
    tmp_path: Path, candidates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = SelectSettings(**PRESETS["paper"])
    assert (paper.measure, paper.min_std, paper.min_high_frequency, paper.min_difference) == ("laplacian", 30, 30, 0)
    ours = SelectSettings()
    assert (ours.measure, ours.min_std, ours.min_high_frequency, ours.min_difference) == ("pyramid", 30, 6, 2)
    assert SelectSettings(measure="laplacian").min_high_frequency == 30
    options = ["select", str(candidates), "--patch-size", "32", "--preset", "paper", "--json"]
    assert cli.run([*options, "-o", str(tmp_path / "set")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["thresholds"] == {"min_std": 30, "min_high_frequency": 30, "min_difference": 0}
    assert summary["rejected"]["difference"] == 0
    assert Dataset.open(tmp_path / "set").settings.selection["measure"] == "laplacian"
    assert cli.run([*options, "--min-std", "10", "-o", str(tmp_path / "ten")]) == 0  # what is given counts more
    assert json.loads(capsys.readouterr().out)["thresholds"]["min_std"] == 10


def test_quantiles_are_of_all_windows_of_all_photos(tmp_path: Path, candidates: Path) -> None:
    everything = changed(min_std=0, min_high_frequency=0, min_difference=0, max_overlap=1, duplicate_distance=-1)
    select_patches(candidates, tmp_path / "all", everything)
    rows = [group.scores or {} for group in Dataset.open(tmp_path / "all").groups]
    assert len(rows) == 192
    settings = SelectSettings(**everything.model_dump() | {"min_difference": "40%", "min_std": "25%"})
    summary = select_patches(candidates, tmp_path / "part", settings)
    difference = np.quantile([max(row["difference"].values()) for row in rows], 0.4, method="higher")
    std = np.quantile([row["std"] for row in rows], 0.25, method="higher")
    assert summary["thresholds"] == {
        "min_std": pytest.approx(std, rel=1e-4),
        "min_high_frequency": 0,
        "min_difference": pytest.approx(difference, rel=1e-4),
    }
    enough = [row for row in rows if max(row["difference"].values()) >= difference and row["std"] >= std]
    assert summary["groups"] == len(enough)
    stored = Dataset.open(tmp_path / "part").settings
    assert stored.thresholds == summary["thresholds"]
    assert stored.selection["min_difference"] == "40%"


@pytest.mark.parametrize("keep", [1, 7, 20])
def test_so_many_groups_are_kept_and_they_are_the_best(tmp_path: Path, candidates: Path, keep: int) -> None:
    summary = select_patches(candidates, tmp_path / "set", changed(keep=keep))
    assert summary["groups"] == summary["keep"] == keep
    assert summary["kept_of"] > keep
    assert summary["quantile"] > 0
    floors = {"min_std": 10, "min_high_frequency": 4, "min_difference": 2}
    assert all(summary["thresholds"][key] >= floor for key, floor in floors.items())
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.settings.thresholds == summary["thresholds"]
    for group in dataset.groups:
        assert group.scores is not None
        assert group.scores["std"] >= summary["thresholds"]["min_std"] - 1e-4
        assert max(group.scores["difference"].values()) >= summary["thresholds"]["min_difference"] - 1e-4
    assert sum(summary["rejected"].values()) + keep == summary["windows"]


def test_where_fewer_pass_all_are_kept(tmp_path: Path, candidates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_ = select_patches(candidates, tmp_path / "all", SETTINGS)
    summary = select_patches(candidates, tmp_path / "set", changed(keep=1000))
    assert summary["groups"] == summary["kept_of"] == all_["groups"]
    assert "1000 were wanted: no more pass" in select_text(summary)
    assert summary["thresholds"] == all_["thresholds"]
    kept, every = files(tmp_path / "set"), files(tmp_path / "all")
    assert {name for name in kept if kept[name] != every[name]} == {"dataset.yaml"}  # which says what was wanted


def test_duplicates_of_photos_give_nothing_and_are_named(tmp_path: Path) -> None:
    pictures = {"a.png": photo(0), "b.png": photo(1), "c.png": photo(0), "d.png": photo(1) ^ np.uint8(1)}
    candidates = make_candidates(tmp_path, pictures)
    summary = select_patches(candidates, tmp_path / "set", changed(test_fraction=0.5))
    twins = {one["photo"]: one["twin"] for one in summary["duplicates"]["photos"]}
    assert twins == {"c.png": "a.png", "d.png": "b.png"}
    assert set(summary["photos"]) == {"a.png", "b.png"}
    assert "left out: c.png, a near-duplicate of a.png (0 bits)" in select_text(summary)
    scored = select_patches(candidates, tmp_path / "quantile", changed(test_fraction=0.5, min_std="1%"))
    assert scored["duplicates"] == summary["duplicates"]
    # A photo named for the test split is the one that stays.
    named = select_patches(candidates, tmp_path / "named", changed(test=("d",)))
    assert {one["photo"]: one["twin"] for one in named["duplicates"]["photos"]} == {"b.png": "d.png", "c.png": "a.png"}
    assert named["test_photos"] == ["d.png"]
    for off in (None, -1):
        summary = select_patches(candidates, tmp_path / f"off{off}", changed(duplicate_distance=off))
        assert set(summary["photos"]) == set(pictures)
        assert summary["duplicates"] == {"photos": [], "patches": 0}


def test_patches_that_photos_share_are_taken_once_and_never_straddle_the_split(tmp_path: Path) -> None:
    """b is a shifted view of a: other photos by their hashes, with windows that are the same."""
    scene = noise(0, 96, 160)
    views = {"a.png": scene[:, :96], "b.png": scene[:, 64:], "c.png": noise(1, 96, 96), "d.png": noise(2, 96, 96)}
    candidates = make_candidates(tmp_path, views)
    # Without room between windows all of the grid are drawn, so that the shared ones are met for sure.
    settings = changed(stride=32, max_overlap=0, test_fraction=0.5)
    summary = select_patches(candidates, tmp_path / "set", settings)
    assert summary["duplicates"] == {"photos": [], "patches": 3}
    assert summary["rejected"]["duplicate"] == 3
    assert summary["photos"] == {"a.png": 9, "b.png": 6, "c.png": 9, "d.png": 9}
    splits = {group.source: group.split for group in Dataset.open(tmp_path / "set").groups}
    assert splits["a.png"] == splits["b.png"]
    assert sorted(splits.values()) == ["test", "test", "train", "train"]


def test_keep_makes_up_for_patches_that_are_alike(tmp_path: Path) -> None:
    scene = noise(0, 96, 224)
    views = {f"{x}.png": scene[:, x : x + 96] for x in (0, 32, 64, 96, 128)}
    settings = changed(stride=32, max_overlap=0, keep=16)
    summary = select_patches(make_candidates(tmp_path, views), tmp_path / "set", settings)
    assert summary["duplicates"]["patches"] > 0
    assert summary["groups"] == 16


def test_batches_are_a_mix_of_photos(tmp_path: Path, candidates: Path) -> None:
    select_patches(candidates, tmp_path / "mixed", changed(batch_size=8))
    groups = Dataset.open(tmp_path / "mixed").groups
    by_range: dict[str, set[str | None]] = {}
    for group in groups:
        by_range.setdefault(group.range, set()).add(group.source)
    whole = len(groups) // 8
    assert list(by_range)[:whole] == [f"{8 * k}-{8 * k + 8}" for k in range(whole)]
    assert list(by_range)[-1].endswith(f"-{len(groups)}")
    assert all(len(sources) >= 3 for sources in list(by_range.values())[:whole])
    select_patches(candidates, tmp_path / "plain", changed(batch_size=8, shuffle=False))
    rows = [json.loads(line) for line in (tmp_path / "plain" / "groups.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    assert {group.id for group in groups} == {row["id"] for row in rows}


def test_preview_writes_a_page_and_its_scores_are_used_again(
    tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jinja2")
    settings = changed(min_difference="30%", keep=12)
    whole = select_patches(candidates, tmp_path / "whole", settings)
    first = select_patches(candidates, tmp_path / "set", settings, preview=True)
    page = tmp_path / "set" / "preview.html"
    assert first["preview"] == str(page)
    assert page.stat().st_size > 10_000
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"preview.html", ".incomplete"}
    assert first | {"preview": None, "dataset": whole["dataset"]} == whole

    def never(*given: Any, **how: Any) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr("goldeye.curate.scores.score_windows", never)
    select_patches(candidates, tmp_path / "set", changed(min_std=40.0), preview=True)
    select_patches(candidates, tmp_path / "set", settings)
    written = files(tmp_path / "set")
    del written["preview.html"]
    assert written == files(tmp_path / "whole")
    monkeypatch.undo()
    options = ["--patch-size", "32", "--min-std", "10", "--preview"]
    assert cli.run(["select", str(candidates), "-o", str(tmp_path / "page"), *options]) == 0
    assert capsys.readouterr().out.startswith(str(tmp_path / "page" / "preview.html"))


@pytest.mark.parametrize("other", [{"measure": "laplacian"}, {"patch_size": 24}, {"stride": 16}])
def test_scores_of_other_windows_are_not_used(tmp_path: Path, candidates: Path, other: dict[str, Any]) -> None:
    pytest.importorskip("jinja2")
    select_patches(candidates, tmp_path / "set", changed(**other), preview=True)
    select_patches(candidates, tmp_path / "whole", SETTINGS)
    select_patches(candidates, tmp_path / "set", SETTINGS)
    (tmp_path / "set" / "preview.html").unlink()
    assert files(tmp_path / "set") == files(tmp_path / "whole")


def test_a_picture_changed_after_the_preview_is_scored_again(tmp_path: Path, candidates: Path) -> None:
    pytest.importorskip("jinja2")
    half = changed(min_difference="50%")
    before = select_patches(candidates, tmp_path / "set", half, preview=True)
    write_image(candidates / "made" / "a.png", read_image(candidates / "made" / "a.png") // 2)
    after = select_patches(candidates, tmp_path / "set", half)
    assert after["thresholds"] != before["thresholds"]


def test_two_processes_give_the_same_bytes(tmp_path: Path, candidates: Path) -> None:
    settings = changed(keep=20, test_fraction=0.3, batch_size=6)
    one = select_patches(candidates, tmp_path / "one", settings)
    two = select_patches(candidates, tmp_path / "two", settings, engine=choose_engine(jobs=2))
    assert two | {"dataset": one["dataset"]} == one
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.slow
def test_ray_gives_the_same_bytes(tmp_path: Path, candidates: Path) -> None:
    pytest.importorskip("ray")
    for name, how in (("keep", changed(keep=20, test_fraction=0.3)), ("plain", SETTINGS)):
        select_patches(candidates, tmp_path / name / "one", how)
        select_patches(candidates, tmp_path / name / "ray", how, engine=choose_engine("ray", jobs=2))
        assert files(tmp_path / name / "one") == files(tmp_path / name / "ray")


def test_large_pictures_are_arrays_on_disk(tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select_patches(candidates, tmp_path / "one", SETTINGS)
    monkeypatch.setattr(importlib.import_module("goldeye.images.spool"), "IN_MEMORY", 1000)
    select_patches(candidates, tmp_path / "two", SETTINGS)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_full_disk_is_no_fault_of_a_photo(tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *given: Any, **how: Any) -> None:
        raise ImageError(f"'{path}' cannot be written: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.curate.cut.write_image", full)
        with pytest.raises(ImageError, match="No space left"):
            select_patches(candidates, tmp_path / "set", SETTINGS)
    select_patches(candidates, tmp_path / "set", SETTINGS)
    select_patches(candidates, tmp_path / "whole", SETTINGS)
    assert files(tmp_path / "set") == files(tmp_path / "whole")
