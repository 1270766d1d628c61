"""The multi-GT protocol against the official script's figures, and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput
from goldeye.evaluate.metrics import psnr, ssim
from goldeye.evaluate.multi_gt import crops_to, dataset_targets, direction, mean
from goldeye.evaluate.run import compare_evaluations, evaluate_folder, evaluation_text
from goldeye.images import Picture, read_image, write_image


@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize("y", [False, True])
def test_golden_means(golden: Path, border: int, y: bool) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_multigt.json").read_text())[
        f"{'y' if y else 'rgb'}_crop{border}"
    ]
    names = ("psnr_y", "ssim_y") if y else ("psnr", "ssim")
    result = evaluate_folder(
        golden / "hggt_mini" / "Test" / "SR",
        dataset=golden / "hggt_mini",
        metrics=names,
        crop_border=border,
        suffix="_sr",
    )
    for index, name in enumerate(names):
        figures = result["metrics"][name]
        assert figures["mean"] == pytest.approx(expected["total_psnr_ssim"][index], abs=2e-4)
        assert figures["per_image"].keys() == expected["per_image"].keys()
        for image, values in expected["per_image"].items():
            assert figures["per_image"][image] == pytest.approx(values["avg"][index], abs=2e-4)
    assert result["images"] == 7
    # The official folder has results for the groups with positives alone.
    assert {entry["reason"] for entry in result["excluded"]} == {"no positive candidate"}
    assert result["without_result"] == 0


def test_golden_figures_of_each_target(golden: Path) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_multigt.json").read_text())["rgb_crop4"]["per_image"]
    targets = dataset_targets(Dataset.open(golden / "hggt_mini"))
    for name, values in expected.items():
        assert list(targets[name]) == list(values["per_gt"])
        picture = read_image(golden / "hggt_mini" / "Test" / "SR" / f"{name}_sr.png")
        for path, (a, b) in zip(targets[name].values(), values["per_gt"].values(), strict=True):
            target = read_image(path)
            assert psnr(picture, target, crop_border=4) == pytest.approx(a, abs=2e-4)
            assert ssim(picture, target, crop_border=4) == pytest.approx(b, abs=2e-4)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Flat groups: g1 has positives at 101 and 104, g2 at 110, g3 none; originals at 100."""
    labels = {"g1": ("Positive", "Positive"), "g2": ("Negative", "Positive"), "g3": ("Similar", "Negative")}
    values = {"g1": (101, 104), "g2": (90, 110), "g3": (100, 100)}
    for name in labels:
        write_image(tmp_path / "set" / "images" / "0-3" / "original" / f"{name}.png", flat(100))
        content = {"Picture_1": {"Name": name, "File": "original", "Label": None}}
        for number, (value, label) in enumerate(zip(values[name], labels[name], strict=True), start=1):
            slot = f"0{number}"
            write_image(tmp_path / "set" / "images" / "0-3" / slot / f"{name}_{slot}.png", flat(value))
            content[f"Picture_{number + 1}"] = {"Name": name, "File": slot, "Label": label}
        path = tmp_path / "set" / "labels" / "0-3" / "A" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        write_image(tmp_path / "sr" / f"{name}.png", flat(102))
    return tmp_path / "set"


def flat(value: int) -> Picture:
    return np.full((20, 20, 3), value, np.uint8)


def test_means_by_hand(dataset: Path) -> None:
    result = evaluate_folder(dataset.parent / "sr", dataset=dataset, metrics=["psnr"])
    of_1, of_2, of_8 = (20 * np.log10(255 / difference) for difference in (1, 2, 8))
    assert result["metrics"]["psnr"]["per_image"] == pytest.approx({"g1": (of_1 + of_2) / 2, "g2": of_8})
    assert result["metrics"]["psnr"]["mean"] == pytest.approx(((of_1 + of_2) / 2 + of_8) / 2)
    assert result["excluded"] == [{"name": "g3", "reason": "no positive candidate"}]
    assert result["metrics"]["psnr"]["definition"]["against"].startswith("the positive candidates")


def test_a_result_that_equals_one_positive_has_no_figure(dataset: Path) -> None:
    write_image(dataset.parent / "sr" / "g1.png", flat(104))
    result = evaluate_folder(dataset.parent / "sr", dataset=dataset, metrics=["psnr"])
    assert result["metrics"]["psnr"]["per_image"] == {"g1": None, "g2": pytest.approx(20 * np.log10(255 / 8))}
    assert "infinite" in result["metrics"]["psnr"]["note"]


def test_against_the_originals(dataset: Path) -> None:
    result = evaluate_folder(dataset.parent / "sr", dataset=dataset, metrics=["psnr"], against="original")
    assert result["images"] == 3
    assert result["metrics"]["psnr"]["mean"] == pytest.approx(20 * np.log10(255 / 2))
    assert result["excluded"] == []


def test_against_the_negatives(dataset: Path) -> None:
    result = evaluate_folder(dataset.parent / "sr", dataset=dataset, metrics=["psnr"], against="negatives")
    of_12, of_2 = (20 * np.log10(255 / difference) for difference in (12, 2))
    assert result["metrics"]["psnr"]["per_image"] == pytest.approx({"g2": of_12, "g3": of_2})
    assert result["excluded"] == [{"name": "g1", "reason": "no negative candidate"}]
    assert result["metrics"]["psnr"]["definition"]["against"].startswith("the negative candidates")


def test_no_end_is_better_against_negatives(dataset: Path) -> None:
    """Farther from a negative may be better, or ruined: a figure has no direction then, and a comparison no winner."""
    write_image(dataset.parent / "far" / "g2.png", flat(255))
    write_image(dataset.parent / "far" / "g3.png", flat(255))
    for against, up in (("negatives", None), ("original", True)):
        near, far = (
            evaluate_folder(
                dataset.parent / name, dataset=dataset, metrics=["psnr", "artifact_energy", "noise"], against=against
            )
            for name in ("sr", "far")
        )
        definitions = {key: each["definition"] for key, each in near["metrics"].items()}
        assert {key: each["higher_is_better"] for key, each in definitions.items()} == {
            "psnr": up,
            "artifact_energy": None if up is None else False,
            "noise": None,
        }
        found = compare_evaluations(near, far)
        assert (found["psnr"]["verdict"], found["psnr"]["win_rate"]) == ("A higher", 1)
        assert found["psnr"]["better"] == (None if up is None else "A")
        near["compare"] = {"with": "far", "metrics": found}
        line = next(line for line in evaluation_text(near).splitlines() if "PSNR" in line and "A " in line)
        assert line.endswith("A is higher" if up is None else "A is better")
        assert ("better" in line) == (up is not None)
    assert [direction(metric, "negatives") for metric in ("lpips", "fid", "niqe", "colour_shift")] == [
        None,
        None,
        False,
        False,
    ]


def test_what_compares_with_no_target_is_measured_once(dataset: Path) -> None:
    result = evaluate_folder(dataset.parent / "sr", dataset=dataset, metrics=["noise", "artifact_energy"])
    assert result["metrics"]["noise"]["per_image"].keys() == {"g1", "g2"}
    assert result["metrics"]["artifact_energy"]["mean"] == pytest.approx(0, abs=1e-9)


def test_unusable_requests_are_refused(dataset: Path) -> None:
    with pytest.raises(InvalidInput, match=r"Unknown target 'positive'\. Did you mean 'positives'\?"):
        evaluate_folder(dataset.parent / "sr", dataset=dataset, against="positive")
    with pytest.raises(InvalidInput, match="has no splits"):
        evaluate_folder(dataset.parent / "sr", dataset=dataset, split="test")
    for path in dataset.glob("labels/*/*/*.json"):
        path.unlink()
    with pytest.raises(InvalidInput, match="has no votes yet"):
        evaluate_folder(dataset.parent / "sr", dataset=dataset)


@given(st.integers(4, 300), st.integers(4, 300), st.integers(1, 4))
def test_a_ground_truth_is_cropped_to_what_its_lr_picture_can_give(height: int, width: int, scale: int) -> None:
    result = height // scale * scale, width // scale * scale
    assert crops_to((height, width), result, scale)
    assert crops_to((height, width), (height, width), scale)
    assert not crops_to((height, width), (result[0] - 1, result[1]), scale)
    assert not crops_to((height, width), (result[0], result[1] - scale), scale)
    assert not crops_to((height, width), (height, width + 1), scale)


def test_mean_leaves_out_what_is_not_finite() -> None:
    assert mean([1.0, None, float("inf"), 3.0]) == 2
    assert mean([None]) is None
