"""Folder against folder: what is matched, what is left out and why, and how sure the means are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.errors import InvalidInput
from goldeye.evaluate.run import METRICS, bootstrap_interval, evaluate_folder, evaluation_text, paired_difference
from goldeye.images import write_image


def write(folder: Path, values: dict[str, int], size: int = 24) -> Path:
    for name, value in values.items():
        write_image(folder / name, np.full((size, size, 3), value, np.uint8))
    return folder


def result_of(**per_image: float | None) -> dict[str, Any]:
    return {"metrics": {"psnr": {"per_image": per_image}}}


def test_the_document(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.png": 100, "deep/b.png": 100})
    sr = write(tmp_path / "sr", {"a.png": 101, "deep/b.png": 102})
    result = evaluate_folder(sr, gt=gt, metrics=METRICS)
    assert result["images"] == 2
    assert list(result["metrics"]) == list(METRICS)
    psnr = result["metrics"]["psnr"]
    assert psnr["per_image"] == pytest.approx({"a": 48.1308, "deep/b": 42.1102}, abs=1e-4)
    assert psnr["mean"] == pytest.approx(45.1205, abs=1e-4)
    assert psnr["ci95"] == pytest.approx([42.1102, 48.1308], abs=1e-4)
    assert psnr["definition"]["crop_border"] == 4
    assert result["metrics"]["ssim_y"]["definition"]["window"].startswith("Gaussian 11x11")
    assert result["excluded"] == []
    json.dumps(result, allow_nan=False)


def test_the_crop_is_the_scale_unless_given(tmp_path: Path) -> None:
    gt, sr = write(tmp_path / "gt", {"a.png": 100}), write(tmp_path / "sr", {"a.png": 101})
    crops = [
        evaluate_folder(sr, gt=gt, metrics=["psnr"], **options)["metrics"]["psnr"]["definition"]["crop_border"]  # type: ignore[arg-type]
        for options in ({}, {"scale": 2}, {"scale": 2, "crop_border": 0})
    ]
    assert crops == [4, 2, 0]


def test_names_match_without_ending_and_suffix(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.v2.png": 100, "b.png": 100})
    sr = write(tmp_path / "sr", {"a.v2_x4.bmp": 101, "b.png": 101})
    result = evaluate_folder(sr, gt=gt, metrics=["psnr"], suffix="_x4")
    assert list(result["metrics"]["psnr"]["per_image"]) == ["a.v2"]
    assert result["excluded"] == [
        {"name": "b", "reason": "its name does not end in '_x4'"},
        {"name": "b", "reason": "no result of this name"},
    ]
    assert result["metrics"]["psnr"]["ci95"] is None


def test_what_cannot_be_compared_is_left_out_with_the_reason(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", dict.fromkeys(("a.png", "small.png", "lost.png", "broken.png", "tiny.png"), 100))
    sr = write(tmp_path / "sr", dict.fromkeys(("a.png", "extra.png"), 101))
    write(sr, {"small.png": 101}, size=20)
    (sr / "broken.png").write_bytes(b"no picture")
    for folder in (gt, sr):
        write(folder, {"tiny.png": 100}, size=12)
    result = evaluate_folder(sr, gt=gt)
    assert result["images"] == 1
    reasons = {entry["name"]: entry["reason"] for entry in result["excluded"]}
    assert reasons.keys() == {"small", "extra", "lost", "broken", "tiny"}
    assert reasons["small"] == "The pictures differ in size: 20x20 and 24x24."
    assert reasons["extra"] == "no ground truth of this name"
    assert reasons["lost"] == "no result of this name"
    assert "broken.png" in reasons["broken"]
    assert "11x11" in reasons["tiny"]


def test_equal_pictures_are_null_with_a_note(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.png": 100, "b.png": 100})
    sr = write(tmp_path / "sr", {"a.png": 100, "b.png": 101})
    result = evaluate_folder(sr, gt=gt)
    psnr, ssim = result["metrics"]["psnr"], result["metrics"]["ssim"]
    assert psnr["per_image"]["a"] is None
    assert psnr["mean"] == psnr["per_image"]["b"]
    assert "infinite" in psnr["note"]
    assert "note" not in ssim
    assert ssim["per_image"]["a"] == 1
    same = evaluate_folder(gt, gt=gt)
    assert same["metrics"]["psnr"]["mean"] is None
    assert "infinite" in evaluation_text(same)


def test_unusable_requests_are_refused(tmp_path: Path) -> None:
    gt, sr = write(tmp_path / "gt", {"a.png": 100}), write(tmp_path / "sr", {"b.png": 100})
    with pytest.raises(InvalidInput, match="has the name of one in"):
        evaluate_folder(sr, gt=gt)
    with pytest.raises(InvalidInput, match=r"Unknown metric 'psnr-y'\. Did you mean 'psnr_y'\?"):
        evaluate_folder(sr, gt=gt, metrics=["psnr-y"])
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr)
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr, gt=gt, dataset=gt)
    with pytest.raises(InvalidInput, match="at least one metric"):
        evaluate_folder(sr, gt=gt, metrics=[])
    with pytest.raises(InvalidInput, match="nowhere"):
        evaluate_folder(tmp_path / "nowhere", gt=gt)
    write(sr, {"b.bmp": 100})
    with pytest.raises(InvalidInput, match="have the same name"):
        evaluate_folder(sr, gt=gt)


def test_two_files_can_be_compared(tmp_path: Path) -> None:
    gt, sr = write(tmp_path / "gt", {"a.png": 100}), write(tmp_path / "sr", {"a.png": 101})
    assert evaluate_folder(sr / "a.png", gt=gt / "a.png")["images"] == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_interval_holds_the_mean_and_lies_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(values)
    assert interval is not None
    low, high = interval
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9
    assert bootstrap_interval(values) == interval


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(list(rng.normal(3, 1, 40))) for _ in range(60)]
    covered = sum(low <= 3 <= high for low, high in intervals)  # type: ignore[misc]
    assert 51 <= covered < 60


def test_interval_needs_two_images() -> None:
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([1.0]) is None
    assert bootstrap_interval([2.0, 2.0]) == [2, 2]


def test_paired_difference_by_hand() -> None:
    a, b = result_of(u=30.0, v=31.0, w=32.0, only_a=9.0, x=None), result_of(u=29.0, v=31.0, w=30.0, x=1.0, only_b=9.0)
    difference = paired_difference(a, b, "psnr")
    assert difference["n"] == 3
    assert difference["mean"] == pytest.approx(1)
    assert difference["win_rate"] == pytest.approx(2.5 / 3)
    assert difference["ci95"] == pytest.approx([0, 2])
    assert difference["verdict"] == "no difference shown"


def test_verdicts() -> None:
    names = [f"p{number}" for number in range(20)]
    rng = np.random.default_rng(3)
    low = dict(zip(names, rng.normal(25, 3, 20), strict=True))
    high = {name: value + 0.1 + 0.01 * index for index, (name, value) in enumerate(low.items())}
    # The pictures differ far more among themselves than the methods do: only pairing shows it.
    assert paired_difference(result_of(**high), result_of(**low), "psnr")["verdict"] == "A higher"
    assert paired_difference(result_of(**low), result_of(**high), "psnr")["verdict"] == "B higher"
    equal = paired_difference(result_of(**low), result_of(**low), "psnr")
    assert (equal["verdict"], equal["win_rate"], equal["mean"]) == ("no difference shown", 0.5, 0)
    one = paired_difference(result_of(a=30.0), result_of(a=20.0), "psnr")
    assert (one["verdict"], one["ci95"]) == ("no difference shown", None)
    with pytest.raises(InvalidInput, match="no picture with a figure for psnr in common"):
        paired_difference(result_of(a=30.0), result_of(b=20.0), "psnr")
    with pytest.raises(InvalidInput, match="Unknown metric 'ssim'"):
        paired_difference(result_of(a=30.0), result_of(a=20.0), "ssim")


def test_text_holds_figures_definitions_and_reasons(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.png": 100, "b.png": 100, "lost.png": 1})
    sr = write(tmp_path / "sr", {"a.png": 101, "b.png": 102})
    lines = evaluation_text(evaluate_folder(sr, gt=gt, metrics=["psnr", "ssim_y"])).splitlines()
    assert lines[0] == "2 pictures compared, 1 left out."
    assert lines[1] == "  PSNR    45.1205 dB  (95 % interval 42.1102 to 48.1308)"
    assert lines[3].startswith("PSNR: sRGB, all three channels; 0..255;")
    assert "border crop 4; against the picture of the same name." in lines[4]
    assert lines[5] == "left out: lost: no result of this name"
