"""Patches from candidates: scores against a direct computation, what is drawn, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from goldeye.curate.enhance import enhance_photos
from goldeye.curate.select import SelectSettings, draw_windows, high_frequencies, score_windows, select_patches
from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput
from goldeye.images import Picture, read_image, write_image

SETTINGS = SelectSettings(patch_size=32, stride=8, min_std=10, min_high_frequency=4, seed=1)


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


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 50), st.integers(16, 50), st.integers(16, 24), st.integers(2, 17), st.integers(0, 99))
def test_scores_equal_those_of_each_window_by_itself(
    height: int, width: int, size: int, stride: int, seed: int
) -> None:
    height, width = max(height, size), max(width, size)
    original, version = noise(seed, height, width), noise(seed + 1, height, width) // 2
    scores = score_windows(original, {"01": version, "02": original}, size, stride)
    greys = [
        picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) for picture in (original, version)
    ]
    details = [high_frequencies(grey) for grey in greys]
    assert list(scores.ys) == list(range(0, height - size + 1, stride))
    assert list(scores.xs) == list(range(0, width - size + 1, stride))
    for row, y in enumerate(scores.ys):
        for column, x in enumerate(scores.xs):
            area = np.s_[y : y + size, x : x + size]
            std = max(grey[area].std(dtype=np.float64) for grey in greys)
            detail = max(level[area].std(dtype=np.float64) for level in details)
            difference = np.abs(original[area].astype(int) - version[area]).mean()
            assert scores.std[row, column] == pytest.approx(std, rel=1e-6)
            assert scores.high_frequency[row, column] == pytest.approx(detail, rel=1e-6)
            assert scores.difference["01"][row, column] == pytest.approx(difference, rel=1e-12)
            assert scores.difference["02"][row, column] == 0


@pytest.mark.parametrize("shape", [(32, 48), (33, 47), (17, 18)])
def test_pyramid_equals_its_textbook_form(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).uniform(0, 255, shape)
    kernel = np.array([1, 4, 6, 4, 1]) / 16

    def down(plane: Any) -> Any:
        for axis in (0, 1):
            plane = correlate1d(plane, kernel, axis=axis, mode="mirror")
        return plane[::2, ::2]

    def up(plane: Any, shape: tuple[int, ...]) -> Any:
        # Zeros between the pixels, then the same filter times 2 along each axis.
        for axis in (0, 1):
            plane = np.pad(plane, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            spread = np.zeros([2 * n if a == axis else n for a, n in enumerate(plane.shape)])
            spread[(slice(None, None, 2), slice(None)) if axis == 0 else (slice(None), slice(None, None, 2))] = plane
            filtered = correlate1d(spread, 2 * kernel, axis=axis, mode="constant")
            plane = np.take(filtered, range(4, 4 + shape[axis]), axis=axis)
        return plane

    expected = grey - up(up(down(down(grey)), down(grey).shape), grey.shape)
    assert high_frequencies(grey.astype(np.float32)) == pytest.approx(expected, abs=2e-4)


def test_pyramid_keeps_detail_and_drops_what_is_smooth() -> None:
    flat, checker = np.full((64, 64), 77.0, np.float32), (np.indices((64, 64)).sum(axis=0) % 2 * 20).astype(np.float32)
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    assert np.abs(high_frequencies(flat)).max() < 1e-4
    assert np.abs(high_frequencies(ramp)[16:-16, 16:-16]).max() < 1e-3
    assert high_frequencies(checker)[8:-8, 8:-8].std() == pytest.approx(10, abs=0.01)


def test_a_change_that_keeps_the_mean_is_a_difference(tmp_path: Path) -> None:
    """The trap of the paper's script, which takes |mean(a - b)|: 0 for the checkerboard, whose |a - b| is 10."""
    picture: Picture = noise(0, 64, 64).clip(20, 235).astype(np.uint8)
    scores = score_windows(picture, {"01": sharpened(picture)}, 32, 16)
    assert abs((sharpened(picture).astype(int) - picture).mean()) < 1e-9
    assert scores.difference["01"] == pytest.approx(np.full((3, 3), 10.0))
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


def test_flat_background_is_never_chosen(tmp_path: Path, candidates: Path) -> None:
    summary = select_patches(candidates, tmp_path / "set", SETTINGS.model_copy(update={"min_std": 42}))
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
        select_patches(candidates, tmp_path / name, SETTINGS.model_copy(update={"seed": seed, "test_fraction": 0.5}))
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
    summary = select_patches(candidates, tmp_path / "half", SETTINGS.model_copy(update={"test_fraction": 0.5}))
    groups = Dataset.open(tmp_path / "half").groups
    by_photo = {source: {g.split for g in groups if g.source == source} for source in summary["photos"]}
    assert sorted(map(tuple, by_photo.values())) == [("test",), ("test",), ("train",), ("train",)]
    assert summary["test_photos"] == sorted(source for source, split in by_photo.items() if split == {"test"})

    named = SETTINGS.model_copy(update={"test": ("deep/c", "a.png")})
    summary = select_patches(candidates, tmp_path / "named", named)
    assert summary["test_photos"] == ["a.png", "deep/c.png"]
    assert {g.source for g in Dataset.open(tmp_path / "named", "test").groups} == {"a.png", "deep/c.png"}
    with pytest.raises(InvalidInput, match=r"Unknown test photo 'deep/d'\. Did you mean 'deep/c'"):
        select_patches(candidates, tmp_path / "no", SETTINGS.model_copy(update={"test": ("deep/d",)}))
    with pytest.raises(InvalidInput, match="not both"):
        select_patches(candidates, tmp_path / "no", SETTINGS.model_copy(update={"test": ("a",), "test_fraction": 0.1}))
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
    summary = select_patches(candidates, tmp_path / "set", SETTINGS.model_copy(update={"per_photo": 2}))
    assert set(summary["photos"].values()) == {2}


def test_small_photos_are_passed_over_and_named(tmp_path: Path) -> None:
    both = make_candidates(tmp_path / "both", {"large.png": photo(0), "small.png": photo(1, 31, 80)})
    assert select_patches(both, tmp_path / "set", SETTINGS)["too_small"] == ["small.png"]
    small = make_candidates(tmp_path / "small", {"small.png": photo(1, 31, 80)})
    with pytest.raises(InvalidInput, match="All 1 photos are smaller than the patch of 32 pixels"):
        select_patches(small, tmp_path / "none", SETTINGS)


def test_what_the_hint_says_lets_patches_pass(tmp_path: Path, candidates: Path) -> None:
    strict = SETTINGS.model_copy(update={"min_std": 500, "min_high_frequency": 400, "min_difference": 100})
    with pytest.raises(InvalidInput, match="texture removed 192") as caught:
        select_patches(candidates, tmp_path / "set", strict)
    words = str(caught.value.hint).replace(",", "").rstrip(".").split()
    reached = {key: float(words[words.index(key) + 1]) for key in ("min_std", "min_high_frequency")}
    loosened = strict.model_copy(update=reached | {"min_difference": 2})
    for key in reached:  # each of them by itself lets a window pass
        one = SETTINGS.model_copy(update={key: getattr(loosened, key)})
        assert select_patches(candidates, tmp_path / key, one)["groups"] >= 1


def test_candidates_must_be_whole_and_of_one_size(tmp_path: Path, candidates: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no candidates"):
        select_patches(tmp_path / "photos", tmp_path / "set", SETTINGS)
    write_image(candidates / "made" / "b.png", noise(0, 40, 40))
    with pytest.raises(InvalidInput, match=r"b\.png' is 40x40, its photo 88x72"):
        select_patches(candidates, tmp_path / "set", SETTINGS)


def test_stopped_selection_starts_over_and_a_finished_one_stays(
    tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    select_patches(candidates, tmp_path / "whole", SETTINGS)

    def stop(path: Path, picture: Picture) -> None:
        if "c-" in path.name:
            raise KeyboardInterrupt
        write_image(path, picture)

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.dataset.groups.write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            select_patches(candidates, tmp_path / "set", SETTINGS.model_copy(update={"seed": 5}))
    with pytest.raises(InvalidInput, match="unfinished"):
        Dataset.open(tmp_path / "set")
    select_patches(candidates, tmp_path / "set", SETTINGS)
    assert files(tmp_path / "set") == files(tmp_path / "whole")
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        select_patches(candidates, tmp_path / "set", SETTINGS)


def test_photos_whose_patches_would_share_names_are_refused(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path, {"deep/c.png": photo(0), "deep_c.png": photo(1)})
    with pytest.raises(InvalidInput, match="would have the same names"):
        select_patches(candidates, tmp_path / "set", SETTINGS)


def test_half_the_area_is_too_much_to_share() -> None:
    ys, xs, passing = np.array([0]), np.array([0, 16]), np.ones((1, 2), bool)
    rng = np.random.default_rng(0)
    assert len(draw_windows(ys, xs, passing, SelectSettings(patch_size=32), rng)) == 1
    assert len(draw_windows(ys, np.array([0, 17]), passing, SelectSettings(patch_size=32), rng)) == 2
