"""Quantiles over many photos' windows, thresholds raised together, near-duplicates, and splits by photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.curate.scores import WindowScores, hamming
from goldeye.curate.splits import drop_alike, find_twins, split_photos
from goldeye.curate.thresholds import ScoreCounts, parse_threshold, raise_until

FLOORS = {"min_std": 0.0, "min_high_frequency": 0.0, "min_difference": 0.0}


def window_scores(std: Any, high_frequency: Any, difference: Any) -> WindowScores:
    planes = [np.asarray(plane, np.float32).reshape(1, -1) for plane in (std, high_frequency, difference)]
    number = np.arange(planes[0].size)
    return WindowScores(np.arange(1), number, planes[0], planes[1], {"01": planes[2] / 2, "02": planes[2]})


@pytest.mark.parametrize(
    ("given_", "found"), [(30, 30.0), ("30", 30.0), ("2.5e1", 25.0), (" 40 % ", "40%"), ("0%", "0%")]
)
def test_thresholds_are_numbers_or_quantiles(given_: Any, found: Any) -> None:
    assert parse_threshold(given_) == found


@pytest.mark.parametrize("given_", ["", "%", "-1", -0.5, "inf", "nan", "101%", "40%%", "x", None])
def test_anything_else_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError, match="a number such as 30, or a quantile such as 40%"):
        parse_threshold(given_)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 65025, width=32), min_size=1, max_size=30), min_size=1, max_size=4), st.floats(0, 1)
)
def test_a_quantile_is_that_of_all_scores_together(photos: list[list[float]], part: float) -> None:
    counts = ScoreCounts()
    for photo in photos:
        counts.add(window_scores(photo, photo, photo))
    every = np.sort(np.concatenate(photos).astype(np.float32))
    exact = every[min(int(part * len(every) + 1e-9), len(every) - 1)]
    for key in FLOORS:
        found = counts.quantile(key, part)
        assert exact * (1 - 1 / 16384) <= max(found, 2**-12) or exact < 2**-12
        assert found <= exact
        assert (every < np.float32(found)).sum() <= part * len(every) + 1e-9  # at least the rest passes


def test_without_windows_a_quantile_is_0() -> None:
    assert ScoreCounts().common(FLOORS, 0.5) == FLOORS


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400), st.integers(0, 99))
def test_thresholds_are_raised_until_about_so_many_are_left(wanted: int, seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(1, 100, (3, 500)).astype(np.float32)
    counts = ScoreCounts()
    counts.add(window_scores(*scores))

    def left(thresholds: dict[str, float]) -> int:
        return int(np.all(scores >= np.array(list(thresholds.values()), np.float32)[:, None], axis=0).sum())

    part, thresholds = raise_until(wanted, counts, FLOORS, left)
    # Scores are all different, so that one more window passes at a time, or two by chance.
    assert wanted <= left(thresholds) <= wanted * 1.02 + 2
    assert thresholds == counts.common(FLOORS, part)
    floors = FLOORS | {"min_std": 60.0}
    if left(floors) >= wanted:
        assert raise_until(wanted, counts, floors, left)[1]["min_std"] >= 60


def test_equal_scores_are_kept_together() -> None:
    counts = ScoreCounts()
    counts.add(window_scores([5] * 90 + [50] * 10, [5] * 100, [5] * 100))
    asked: list[float] = []

    def left(thresholds: dict[str, float]) -> int:
        asked.append(thresholds["min_std"])
        return 100 if thresholds["min_std"] <= 5 else 10

    assert raise_until(8, counts, FLOORS, left)[1]["min_std"] == 50
    assert sorted(asked) == [5, 50]  # the same thresholds are not tried twice


# Near-duplicates ------------------------------------------------------------------------------------------------------

HASHES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(0, 2**64 - 1) | st.integers(0, 7), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(HASHES, st.integers(0, 40))
def test_photos_kept_are_far_apart_and_the_others_near_to_one(hashes: dict[str, int], distance: int) -> None:
    twins = find_twins(hashes, distance)
    kept = [name for name in hashes if name not in twins]
    for number, name in enumerate(kept):
        for other in kept[:number]:
            assert hamming(hashes[name], hashes[other]) > distance or not (hashes[name] and hashes[other])
    names = list(hashes)
    for name, (twin, bits) in twins.items():
        assert twin in kept
        assert names.index(twin) < names.index(name)
        assert bits == hamming(hashes[name], hashes[twin]) <= distance
        assert hashes[name]  # a flat picture's hash tells nothing


def test_more_hashes_than_a_first_guess() -> None:
    values = np.random.default_rng(0).integers(1, 2**63, 3000).tolist()
    hashes = {str(number): value for number, value in enumerate(values)} | {"again": values[2500]}
    assert find_twins(hashes, 2) == {"again": ("2500", 0)}


def test_patches_of_one_photo_are_no_duplicates_of_each_other() -> None:
    patches = [("a", 1), ("a", 1), ("b", 1), ("b", 6), ("c", 7), ("a", 7)]
    stays, alike = drop_alike(patches, 1)
    assert stays == [True, True, False, True, False, False]
    assert alike == [("b", "a"), ("c", "b"), ("a", "b")]


# Splits ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.sets(st.integers(0, 30), min_size=1, max_size=20),
    st.floats(0, 1),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=10),
    st.integers(0, 9),
)
def test_splits_are_by_family_and_near_the_wish(
    numbers: set[int], fraction: float, pairs: list[tuple[int, int]], seed: int
) -> None:
    names = [f"p{number}" for number in sorted(numbers)]
    alike = [(f"p{one}", f"p{other}") for one, other in pairs]
    splits = split_photos(names, tests=None, fraction=fraction, seed=seed, alike=alike)
    assert list(splits) == names
    for one, other in alike:
        if one in splits and other in splits:
            assert splits[one] == splits[other]
    tests = [name for name in names if splits[name] == "test"]
    if not alike:
        wish = round(fraction * len(names))
        if 0 < fraction < 1 and len(names) > 1:
            wish = min(max(wish, 1), len(names) - 1)
        assert len(tests) == wish
        assert splits == split_photos(names[::-1], tests=None, fraction=fraction, seed=seed)
    if fraction in (0, 1):
        assert len(tests) == fraction * len(names)


def test_named_tests_are_the_tests() -> None:
    splits = split_photos(["a", "b", "c"], tests={"b"}, fraction=0.0, seed=0, alike=[("a", "b")])
    assert splits == {"a": "train", "b": "test", "c": "train"}
