"""`goldeye evaluate` through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from metric_pictures import flat, noisy, textured

from goldeye.cli import run
from goldeye.evaluate.metrics import METRICS
from goldeye.evaluate.weights import WEIGHT_FILES
from goldeye.images import read_image, write_image


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for seed in range(3):
        picture = textured(seed, 60, 80)
        write_image(tmp_path / "gt" / f"{seed}.png", picture)
        write_image(tmp_path / "near" / f"{seed}_x4.png", noisy(picture, 4))
        write_image(tmp_path / "far" / f"{seed}.png", noisy(picture, 12))
        write_image(tmp_path / "lr" / f"{seed}.png", picture[::4, ::4])
    return {name: str(tmp_path / name) for name in ("gt", "near", "far", "lr")}


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["evaluate", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_figures_and_a_comparison(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--gt", folders["gt"], "--lr", folders["lr"], "--metrics", "psnr,ssim,colour_shift,noise"]
    options += ["--suffix", "_x4", "--compare", folders["far"], "--compare-suffix", ""]
    code, found = document(capsys, folders["near"], *options)
    assert code == 0
    assert found["schema"] == "goldeye.evaluate/1"
    assert list(found["metrics"]) == ["psnr", "ssim", "colour_shift", "noise"]
    compare = found["compare"]
    assert (compare["with"], compare["images"], compare["excluded"]) == (folders["far"], 3, [])
    psnr = compare["metrics"]["psnr"]
    assert (psnr["better"], psnr["win_rate"], psnr["n"]) == ("A", 1, 3)
    assert psnr["mean"] == pytest.approx(found["metrics"]["psnr"]["mean"] - psnr["other"])
    assert compare["metrics"]["noise"]["verdict"] == "B higher"
    assert compare["metrics"]["noise"]["better"] is None
    assert run(["evaluate", folders["near"], *options]) == 0
    text = capsys.readouterr().out
    assert f"Compared with {folders['far']}" in text
    assert "A better on 100% of 3: A is better" in text
    assert "A higher on 0% of 3: B is higher" in text
    gt = folders["gt"]
    assert run(["evaluate", gt, "--gt", gt, "--metrics", "psnr", "--compare", folders["far"]]) == 0
    assert "no finite difference, A better on 100% of 3 (3 infinite, not in the mean): A is better" in (
        capsys.readouterr().out
    )


def test_a_picture_of_another_size_is_named_and_the_rest_is_measured(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(Path(folders["far"]) / "1.png", flat(0, 15, 20))
    code, found = document(capsys, folders["far"], "--gt", folders["gt"])
    assert code == 1
    assert found["images"] == 2
    assert found["excluded"] == [
        {"name": "1", "reason": "The pictures differ in size: 20x15 and 80x60.", "failed": True}
    ]
    code, found = document(
        capsys, folders["near"], "--suffix", "_x4", "--gt", folders["gt"], "--compare", folders["far"],
        "--compare-suffix", "",
    )  # fmt: skip
    assert (code, found["excluded"]) == (1, [])
    assert found["compare"]["metrics"]["psnr"]["n"] == 2


def test_a_photo_whose_sides_are_no_multiples_of_the_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "gt" / "a.png", textured(0, 61, 83))
    assert run(["degrade", str(tmp_path / "gt"), "-o", str(tmp_path / "lr"), "--preset", "bicubic"]) == 0
    lr = read_image(tmp_path / "lr" / "a.png")
    write_image(tmp_path / "sr" / "a.png", lr.repeat(4, axis=0).repeat(4, axis=1))
    capsys.readouterr()
    code, found = document(capsys, str(tmp_path / "sr"), "--gt", str(tmp_path / "gt"))
    assert (code, found["images"], found["excluded"]) == (0, 1, [])
    assert found["metrics"]["psnr"]["mean"] > 15
    assert "cropped at the bottom and the right" in found["notes"][0]


def test_no_figure_at_all_is_a_failure_and_lacking_results_are_counted(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", folders["far"], "--gt", folders["gt"], "--crop-border", "500"]) == 1
    assert capsys.readouterr().out.startswith("3 pictures compared, 0 left out; no picture has a figure.\n")
    (Path(folders["far"]) / "1.png").unlink()
    code, found = document(capsys, folders["far"], "--gt", folders["gt"])
    assert (code, found["without_result"], found["expected"]) == (0, 1, 3)
    assert run(["evaluate", folders["gt"], "--gt", folders["gt"], "--metrics", "psnr"]) == 0


def test_all_that_can_be_measured(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.delenv("GOLDEYE_NIQE_PARAMS", raising=False)
    code, found = document(capsys, folders["far"], "--gt", folders["gt"], "--metrics", "all")
    assert code == 0
    assert "psnr" in found["metrics"]
    assert {"niqe", "lpips", "fid"} <= {row["metric"] for row in found["unavailable"]}
    assert run(["evaluate", folders["far"], "--gt", folders["gt"], "--metrics", "all"]) == 0
    assert "not measured: niqe: NIQE needs pristine parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "psnr,nique"], "Unknown metric 'nique'. Did you mean 'niqe'?"),
        (["--metrics", "all,foo"], "Unknown metric 'foo'"),
        (["--metrics", "niqe"], "NIQE needs pristine parameters, and there are none here."),
        (["--metrics", "niqe", "--niqe-params", "lost.npz"], "There is no file 'lost.npz' with NIQE parameters."),
        (["--metrics", "colour_shift"], "colour shift cannot be measured"),
        (["--against", "negatives"], "parts of a dataset"),
        (["--lr", "lost"], "There is no file or folder 'lost'"),
        (["--compare", "lost"], "There is no file or folder 'lost'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    arguments: list[str],
    message: str,
    folders: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOLDEYE_NIQE_PARAMS", raising=False)
    code, found = document(capsys, folders["far"], "--gt", folders["gt"], *arguments)
    assert code == 2
    assert message in found["error"]["message"]


def test_the_page_and_the_help_list_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluating.md").read_text(encoding="utf-8")
    assert run(["evaluate", "--help"]) == 0
    listed = capsys.readouterr().out.replace("\n", " ")
    for key in METRICS:
        assert f"`{key}`" in page
        assert f"{key}," in listed or f"{key};" in listed
    for file in WEIGHT_FILES.values():
        if file.source.startswith("https:") and file.use != "perceptual loss of training":
            assert f"`{file.file}`" in page
