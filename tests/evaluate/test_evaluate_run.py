"""Folder against folder: what is matched, what is left out and why, and how sure the means are."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.errors import InvalidInput
from goldeye.evaluate import run as run_module
from goldeye.evaluate.metrics import METRICS as METRIC_INFO
from goldeye.evaluate.metrics import Metric
from goldeye.evaluate.run import (
    bootstrap_interval,
    compare_evaluations,
    evaluate_folder,
    evaluation_text,
    paired_difference,
)
from goldeye.images import write_image

METRICS = ("psnr", "ssim", "psnr_y", "ssim_y")


def write(folder: Path, values: dict[str, int], size: int = 24) -> Path:
    for name, value in values.items():
        write_image(folder / name, np.full((size, size, 3), value, np.uint8))
    return folder


def result_of(**per_image: float | None) -> dict[str, Any]:
    """An evaluation's PSNR; inf stands for equal pictures."""
    infinite = [name for name, value in per_image.items() if value == np.inf]
    figures = {name: None if name in infinite else value for name, value in per_image.items()}
    return {"metrics": {"psnr": {"per_image": figures, "infinite": infinite}}}


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
    gt = write(tmp_path / "gt", dict.fromkeys(("a.png", "small.png", "lost.png", "broken.png"), 100))
    sr = write(tmp_path / "sr", dict.fromkeys(("a.png", "extra.png"), 101))
    write(sr, {"small.png": 101}, size=20)
    (sr / "broken.png").write_bytes(b"no picture")
    result = evaluate_folder(sr, gt=gt)
    assert result["images"] == 1
    reasons = {entry["name"]: entry["reason"] for entry in result["excluded"]}
    assert reasons.keys() == {"small", "extra", "lost", "broken"}
    assert reasons["small"] == "The pictures differ in size: 20x20 and 24x24."
    assert reasons["extra"] == "no ground truth of this name"
    assert reasons["lost"] == "no result of this name"
    assert "broken.png" in reasons["broken"]
    assert [entry["name"] for entry in result["excluded"] if entry.get("failed")] == ["broken", "small"]


def test_a_larger_ground_truth_is_cropped_as_papers_do(tmp_path: Path) -> None:
    """27x25 gives an LR picture of 6x6 at scale 4 (13x12 at 2), and those a result of 24x24 (26x24)."""
    whole = np.full((25, 27, 3), 250, np.uint8)
    whole[:24, :26] = 100
    write_image(tmp_path / "gt" / "a.png", whole)
    sr = write(tmp_path / "sr", {"a.png": 101})
    result = evaluate_folder(sr, gt=tmp_path / "gt", crop_border=0)
    assert result["metrics"]["psnr"]["per_image"]["a"] == pytest.approx(20 * np.log10(255))
    assert result["notes"] == ["The ground truth was cropped at the bottom and the right to the result's size: a."]
    assert "note: The ground truth was cropped" in evaluation_text(result)
    other = evaluate_folder(sr, gt=tmp_path / "gt", scale=2)
    assert other["excluded"] == [
        {"name": "a", "reason": "The pictures differ in size: 24x24 and 27x25.", "failed": True}
    ]
    write_image(sr / "a.png", np.full((24, 26, 3), 101, np.uint8))
    at_two = evaluate_folder(sr, gt=tmp_path / "gt", scale=2, crop_border=0)
    assert at_two["metrics"]["psnr"]["per_image"]["a"] == pytest.approx(20 * np.log10(255))
    assert "notes" not in evaluate_folder(tmp_path / "gt", gt=tmp_path / "gt")


def test_a_figure_that_a_picture_does_not_have_is_null_with_the_reason(tmp_path: Path) -> None:
    gt = write(write(tmp_path / "gt", {"a.png": 100}), {"tiny.png": 100}, size=12)
    sr = write(write(tmp_path / "sr", {"a.png": 101}), {"tiny.png": 103}, size=12)
    result = evaluate_folder(sr, gt=gt)
    assert (result["images"], result["excluded"]) == (2, [])
    ssim = result["metrics"]["ssim"]
    assert ssim["per_image"]["tiny"] is None
    assert ssim["mean"] == ssim["per_image"]["a"]
    assert ssim["reasons"] == {"tiny": "SSIM needs 11x11 pixels; the cropped picture has 4x4."}
    psnr = result["metrics"]["psnr"]
    assert psnr["per_image"]["tiny"] == pytest.approx(20 * np.log10(255 / 3))
    assert "reasons" not in psnr
    assert "no SSIM: tiny: SSIM needs 11x11 pixels" in evaluation_text(result)
    whole = evaluate_folder(sr, gt=gt, crop_border=6)
    assert whole["metrics"]["psnr"]["reasons"]["tiny"] == "A crop of 6 pixels leaves nothing of a picture of 12x12."


def test_equal_pictures_are_null_with_a_note(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.png": 100, "b.png": 100})
    sr = write(tmp_path / "sr", {"a.png": 100, "b.png": 101})
    result = evaluate_folder(sr, gt=gt)
    psnr, ssim = result["metrics"]["psnr"], result["metrics"]["ssim"]
    assert psnr["per_image"]["a"] is None
    assert psnr["mean"] == psnr["per_image"]["b"]
    assert "infinite" in psnr["note"]
    assert psnr["infinite"] == ["a"]
    assert not {"note", "infinite"} & ssim.keys()
    assert ssim["per_image"]["a"] == pytest.approx(1, abs=1e-6)
    same = evaluate_folder(gt, gt=gt)
    assert same["metrics"]["psnr"]["mean"] is None
    assert "infinite" in evaluation_text(same)


def test_what_needs_no_ground_truth_is_measured_without(tmp_path: Path) -> None:
    sr = write(tmp_path / "sr", {"a_x4.png": 100, "b.png": 100})
    result = evaluate_folder(sr, metrics="noise, sharpness,noise", suffix="_x4")
    assert list(result["metrics"]) == ["noise", "sharpness"]
    assert result["metrics"]["noise"]["per_image"] == {"a": pytest.approx(0, abs=1e-9)}
    assert "against" not in result["metrics"]["noise"]["definition"]
    assert [entry["name"] for entry in result["excluded"]] == ["b"]
    with pytest.raises(InvalidInput, match="has a name that ends in '_x2'"):
        evaluate_folder(sr, metrics="noise", suffix="_x2")


def test_inputs_are_compared_with_results_of_their_name(tmp_path: Path) -> None:
    sr = write(tmp_path / "sr", {"a.png": 100, "b.png": 100, "c.png": 100})
    lr = write(tmp_path / "lr", {"ax4.png": 100, "bx4.png": 140, "other.png": 1}, size=6)
    result = evaluate_folder(sr, lr=lr, lr_suffix="x4", metrics="colour_shift")
    figures = result["metrics"]["colour_shift"]
    assert figures["per_image"]["a"] == pytest.approx(0, abs=1e-4)
    assert figures["per_image"]["b"] > 10
    assert figures["per_image"]["c"] is None
    assert figures["reasons"] == {"c": "no input of this name"}
    assert figures["definition"]["against"] == "the input of the same name"
    with pytest.raises(InvalidInput, match="colour shift cannot be measured: it compares with the LR inputs"):
        evaluate_folder(sr, metrics="colour_shift")
    with pytest.raises(InvalidInput, match=r"No picture of '.*lr' has the name of a result"):
        evaluate_folder(sr, lr=lr, metrics="colour_shift")
    (lr / "ax4.png").write_bytes(b"no picture")
    broken = evaluate_folder(sr, lr=lr, lr_suffix="x4", metrics="colour_shift")
    assert [(entry["name"], entry["failed"]) for entry in broken["excluded"]] == [("a", True)]


def test_grey_deep_and_transparent_pictures(tmp_path: Path) -> None:
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    off = np.clip(colour.astype(int) + 2, 0, 255).astype(np.uint8)
    for name in ("grey", "deep", "clear", "opaque"):
        write_image(tmp_path / "gt" / f"{name}.png", colour)
    (tmp_path / "sr").mkdir()
    Image.fromarray(off[..., 0]).save(tmp_path / "sr" / "grey.png")
    write_image(tmp_path / "sr" / "deep.png", off.astype(np.uint16) * 257)
    for name, alpha in {"clear": grey, "opaque": np.full_like(grey, 255)}.items():
        Image.fromarray(np.dstack([off, alpha])).save(tmp_path / "sr" / f"{name}.png")
    result = evaluate_folder(tmp_path / "sr", gt=tmp_path / "gt", metrics=[*METRICS, "artifact_energy", "noise"])
    for figures in result["metrics"].values():
        values = list(figures["per_image"].values())
        assert values == pytest.approx([values[0]] * 4, rel=1e-4)
    assert result["notes"] == ["Transparency is not compared, only the colours behind it: clear."]
    assert "note: Transparency" in evaluation_text(result)


@pytest.mark.parametrize("order", ["dcba", "bdac"])
def test_the_order_of_files_does_not_matter(tmp_path: Path, order: str) -> None:
    rng = np.random.default_rng(0)
    for folder in ("gt", "sr"):
        for name, other in zip("abcd", order, strict=True):
            write_image(tmp_path / folder / f"{name}.png", rng.integers(0, 256, (23, 29, 3), dtype=np.uint8))
            (tmp_path / f"other-{folder}").mkdir(exist_ok=True)
            shutil.copy(tmp_path / folder / f"{name}.png", tmp_path / f"other-{folder}" / f"{other}.png")
    one, two = (
        evaluate_folder(tmp_path / f"{prefix}sr", gt=tmp_path / f"{prefix}gt", metrics=METRICS)
        for prefix in ("", "other-")
    )
    for key in METRICS:
        first, second = one["metrics"][key]["per_image"], two["metrics"][key]["per_image"]
        assert {name: second[other] for name, other in zip("abcd", order, strict=True)} == first
        assert one["metrics"][key]["mean"] == two["metrics"][key]["mean"]


def test_pictures_are_decoded_while_another_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first measurement would wait in vain for the second picture."""
    sr = write(tmp_path / "sr", {"a.png": 100, "b.png": 110})
    read, others_read = run_module.open_picture, threading.Event()

    def reading(path: Path, **options: Any) -> Any:
        if path.name == "b.png":
            others_read.set()
        return read(path, **options)

    def slow(key: str, **options: Any) -> Metric:
        return Metric(key, METRIC_INFO[key], {}, lambda picture: float(others_read.wait(20)))

    monkeypatch.setattr(run_module, "open_picture", reading)
    monkeypatch.setattr(run_module, "make_metric", slow)
    assert evaluate_folder(sr, metrics="noise")["metrics"]["noise"]["per_image"] == {"a": 1, "b": 1}


def test_unusable_requests_are_refused(tmp_path: Path) -> None:
    gt, sr = write(tmp_path / "gt", {"a.png": 100}), write(tmp_path / "sr", {"b.png": 100})
    with pytest.raises(InvalidInput, match="has the name of one in"):
        evaluate_folder(sr, gt=gt)
    with pytest.raises(InvalidInput, match=r"Unknown metric 'psnr-y'\. Did you mean 'psnr_y'\?"):
        evaluate_folder(sr, gt=gt, metrics=["psnr-y"])
    with pytest.raises(InvalidInput, match="Unknown metric 'foo'"):
        evaluate_folder(sr, gt=gt, metrics="all,foo")
    with pytest.raises(InvalidInput, match="The scale must be 1 or more, not 0"):
        evaluate_folder(sr, gt=gt, scale=0)
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr)
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr, gt=gt, dataset=gt)
    with pytest.raises(InvalidInput, match="at least one metric"):
        evaluate_folder(sr, gt=gt, metrics=[])
    with pytest.raises(InvalidInput, match="at least one metric"):
        evaluate_folder(sr, gt=gt, metrics=" , ")
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr, metrics=["noise", "fid"])
    with pytest.raises(InvalidInput, match="either a folder of ground truth or a dataset"):
        evaluate_folder(sr, gt=gt, dataset=gt, metrics="all")
    with pytest.raises(InvalidInput, match="0 or more, not -1"):
        evaluate_folder(sr, gt=gt, crop_border=-1)
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
    assert difference["better"] is None


def test_lower_is_better_for_some_metrics() -> None:
    names = [f"p{number}" for number in range(10)]
    a = {"metrics": {"lpips": {"mean": 0.2, "per_image": dict.fromkeys(names, 0.2) | {"p9": 0.4}}}}
    b = {"metrics": {"lpips": {"mean": 0.3, "per_image": dict.fromkeys(names, 0.3)}}}
    difference = paired_difference(a, b, "lpips")
    assert (difference["verdict"], difference["better"], difference["win_rate"]) == ("B higher", "A", 0.9)
    assert paired_difference(b, a, "lpips")["better"] == "B"
    assert paired_difference(b, a, "lpips")["win_rate"] == pytest.approx(0.1)


def test_comparison_of_two_evaluations(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", {"a.png": 100, "b.png": 100, "c.png": 100})
    near = write(tmp_path / "near", {"a.png": 101, "b.png": 102, "c.png": 101})
    far = write(tmp_path / "far", {"a.png": 104, "b.png": 105})
    a, b = (evaluate_folder(folder, gt=gt, metrics=["psnr", "noise"]) for folder in (near, far))
    found = compare_evaluations(a, b)
    assert found["psnr"]["n"] == 2
    assert found["psnr"]["mean"] == pytest.approx(10 * np.log10(4) + 10 * np.log10(2.5))
    assert (found["psnr"]["better"], found["psnr"]["win_rate"]) == ("A", 1)
    assert found["psnr"]["other"] == b["metrics"]["psnr"]["mean"]
    same = evaluate_folder(gt, gt=gt, metrics=["psnr"])
    perfect = compare_evaluations(a, same)["psnr"]
    assert (perfect["n"], perfect["infinite"], perfect["win_rate"], perfect["better"]) == (3, 3, 0, "B")
    assert (perfect["mean"], perfect["ci95"], perfect["other"]) == (None, None, None)
    assert set(found) == {"psnr", "noise"}
    tiny = evaluate_folder(near, gt=gt, metrics=["psnr"], crop_border=20)
    assert compare_evaluations(a, tiny) == {
        "psnr": {"other": None, "note": "there are no pictures with a figure in both"}
    }


def test_equal_pictures_count_in_comparisons() -> None:
    """As wins, not in the mean, which cannot hold an infinite difference."""
    inf = float("inf")
    a, b = result_of(u=inf, v=31.0, w=31.0, x=inf), result_of(u=29.0, v=30.0, w=32.0, x=inf)
    found = paired_difference(a, b, "psnr")
    assert (found["n"], found["infinite"], found["mean"], found["win_rate"]) == (4, 2, 0, 2.5 / 4)
    back = paired_difference(b, a, "psnr")
    assert (back["infinite"], back["win_rate"]) == (2, 1.5 / 4)
    json.dumps([found, back], allow_nan=False)
    # Perfect on one picture and slightly worse on nine: the finite part alone would say B.
    low = {f"p{number}": 30.0 for number in range(9)}
    high = {name: value + 0.1 for name, value in low.items()}
    mixed = paired_difference(result_of(**low, q=inf), result_of(**high, q=20.0), "psnr")
    assert mixed["ci95"] == pytest.approx([-0.1, -0.1])
    assert (mixed["verdict"], mixed["better"], mixed["win_rate"]) == ("no difference shown", None, 0.1)
    all_equal = dict.fromkeys(low, inf)
    assert paired_difference(result_of(**all_equal), result_of(**low), "psnr")["better"] == "A"
    same = paired_difference(result_of(**all_equal), result_of(**all_equal), "psnr")
    assert (same["verdict"], same["win_rate"]) == ("no difference shown", 0.5)


def test_a_figure_without_a_direction_makes_none_better() -> None:
    names = [f"p{number}" for number in range(10)]
    a, b = ({"metrics": {"sharpness": {"per_image": dict.fromkeys(names, value)}}} for value in (52.0, 4.0))
    found = paired_difference(a, b, "sharpness")
    assert (found["verdict"], found["better"], found["win_rate"]) == ("A higher", None, 1)
    assert paired_difference(b, a, "sharpness")["win_rate"] == 0


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
    assert lines[0] == "2 pictures compared, 1 left out; 1 of 3 without a result."
    assert lines[1] == "  PSNR    45.1205 dB  (95 % interval 42.1102 to 48.1308)"
    assert lines[3].startswith("PSNR: sRGB, all three channels; 0..255;")
    assert lines[4].endswith("border crop 4; against the picture of the same name.")
    assert lines[5] == "left out: lost: no result of this name"
