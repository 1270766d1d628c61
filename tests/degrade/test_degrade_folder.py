from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goldeye.degrade import degrade_folder, get_pipeline
from goldeye.errors import InvalidInput
from goldeye.images import read_image, to_float, write_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures in sorted order: a.jpg, b.png (odd size), sub/c ü.png (16 bit), sub/d.webp, z.png."""
    folder = tmp_path / "photos"
    for name, height, width in (("a.jpg", 64, 48), ("b.png", 50, 67), ("sub/d.webp", 32, 32), ("z.png", 40, 40)):
        write_image(folder / name, picture(height, width))
    write_image(folder / "sub" / "c ü.png", picture(48, 64).astype(np.uint16) * 257)
    return folder


def picture(height: int, width: int) -> Any:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 % 256, y * 4 % 256, (x + y) * 2 % 256], axis=-1).astype(np.uint8)


def record(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "degradations.jsonl").read_text(encoding="utf-8").splitlines()]


def contents(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def inputs(items: list[dict[str, Any]]) -> list[str]:
    return [Path(item["input"]).name for item in items]


def test_pictures_and_record(photos: Path, tmp_path: Path) -> None:
    result = degrade_folder(photos, tmp_path / "lr", preset="hggt", scale=4, seed=5)
    assert not result.skipped
    assert not result.failed
    assert result.done[0] == {"input": str(photos / "a.jpg"), "output": str(tmp_path / "lr" / "a.png")}
    rows = record(tmp_path / "lr")
    assert [row["name"] for row in rows] == ["a.jpg", "b.png", "sub/c ü.png", "sub/d.webp", "z.png"]
    assert [row["output"] for row in rows] == ["a.png", "b.png", "sub/c ü.png", "sub/d.png", "z.png"]
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[1]["cropped"] == [48, 64]
    assert "cropped" not in rows[0]
    pipeline = get_pipeline("hggt")
    for row in rows:
        assert (row["seed"], row["preset"], row["scale"]) == (5, "hggt", 4)
        assert row["parameters"] == pipeline.draw(np.random.default_rng([5, row["number"]]), 4)
        gt = to_float(read_image(photos / row["name"]))
        height, width = row.get("cropped", gt.shape[:2])
        lr = read_image(tmp_path / "lr" / row["output"])
        assert lr.shape == (height // 4, width // 4, 3)
        np.testing.assert_array_equal(to_float(lr), pipeline.apply(gt[:height, :width], row["parameters"]))


def test_one_file(photos: Path, tmp_path: Path) -> None:
    result = degrade_folder(photos / "z.png", tmp_path / "lr", preset="bicubic", scale=2)
    assert inputs(result.done) == ["z.png"]
    assert read_image(tmp_path / "lr" / "z.png").shape == (20, 20, 3)


def test_enhancer_presets_keep_the_size(photos: Path, tmp_path: Path) -> None:
    degrade_folder(photos, tmp_path / "lq", preset="hggt-enhance-blur")
    assert read_image(tmp_path / "lq" / "b.png").shape == (50, 67, 3)
    assert {row["scale"] for row in record(tmp_path / "lq")} == {1}


def test_finished_pictures_are_skipped(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "lr"
    degrade_folder(photos, output, preset="hggt")
    before = contents(output)
    again = degrade_folder(photos, output, preset="hggt")
    assert len(again.skipped) == 5
    assert not again.done
    assert contents(output) == before
    (output / "b.png").unlink()
    assert inputs(degrade_folder(photos, output, preset="hggt").done) == ["b.png"]
    assert contents(output) == before


@pytest.mark.parametrize("change", [{"seed": 1}, {"scale": 2}, {"preset": "bicubic"}])
def test_other_settings_make_everything_anew(photos: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    first: dict[str, Any] = {"preset": "hggt", "scale": 4, "seed": 0}
    degrade_folder(photos, tmp_path / "one", **first)
    result = degrade_folder(photos, tmp_path / "one", **{**first, **change})
    assert len(result.done) == 5
    degrade_folder(photos, tmp_path / "two", **{**first, **change})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_changed_pipeline_file_makes_everything_anew(photos: Path, tmp_path: Path) -> None:
    text = "steps: [{step: jpeg, quality: [%d, %d]}, {step: bicubic}]"
    path = tmp_path / "mine.yaml"
    path.write_text(text % (90, 90))
    degrade_folder(photos, tmp_path / "lr", preset=str(path))
    assert len(degrade_folder(photos, tmp_path / "lr", preset=str(path)).skipped) == 5
    path.write_text(text % (20, 20))
    assert len(degrade_folder(photos, tmp_path / "lr", preset=str(path)).done) == 5


def test_a_new_picture_renumbers_what_follows(photos: Path, tmp_path: Path) -> None:
    degrade_folder(photos, tmp_path / "lr", preset="hggt")
    write_image(photos / "c.png", picture(32, 32))
    result = degrade_folder(photos, tmp_path / "lr", preset="hggt")
    assert inputs(result.skipped) == ["a.jpg", "b.png"]
    degrade_folder(photos, tmp_path / "fresh", preset="hggt")
    assert contents(tmp_path / "lr") == contents(tmp_path / "fresh")


def test_bad_pictures_fail_by_name_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    write_image(photos / "b.png", picture(19, 60))
    write_image(photos / "sub" / "d.webp", picture(15, 60))
    result = degrade_folder(photos, tmp_path / "lr", preset="hggt", scale=5)
    errors = {Path(item["input"]).name: item["error"] for item in result.failed}
    assert inputs(result.done) == ["c ü.png", "z.png"]
    assert sorted(errors) == ["a.jpg", "b.png", "d.webp"]
    assert "a.jpg' is truncated or damaged" in errors["a.jpg"]
    assert "b.png' is too small: 60 x 19 pixels" in errors["b.png"]
    assert [row["name"] for row in record(tmp_path / "lr")] == ["sub/c ü.png", "z.png"]


def test_two_pictures_with_one_result(photos: Path, tmp_path: Path) -> None:
    write_image(photos / "a.png", picture(32, 32))
    result = degrade_folder(photos, tmp_path / "lr", preset="hggt")
    assert inputs(result.failed) == ["a.png"]
    assert "written over the result of" in result.failed[0]["error"]
    assert read_image(tmp_path / "lr" / "a.png").shape == (16, 12, 3)


@pytest.mark.parametrize("torn", [b'{"name": "sub/d.webp", "output": "sub/d.p', b"\xff\xfe\x00", b"[]\n3\n"])
def test_an_interrupted_run_continues(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes
) -> None:
    degrade_folder(photos, tmp_path / "whole", preset="hggt")

    def stop_at_d(path: Path, *rest: Any) -> None:
        if path.name == "d.png":
            raise KeyboardInterrupt
        write_image(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.degrade.run.write_image", stop_at_d)
        with pytest.raises(KeyboardInterrupt):
            degrade_folder(photos, tmp_path / "lr", preset="hggt")
    with (tmp_path / "lr" / "degradations.jsonl").open("ab") as file:
        file.write(torn)  # what a kill in the middle of a line leaves
    result = degrade_folder(photos, tmp_path / "lr", preset="hggt")
    assert inputs(result.skipped) == ["a.jpg", "b.png", "c ü.png"]
    assert inputs(result.done) == ["d.webp", "z.png"]
    assert contents(tmp_path / "lr") == contents(tmp_path / "whole")


def test_an_output_folder_inside_the_source_is_not_read(photos: Path) -> None:
    for _ in range(2):
        degrade_folder(photos, photos / "lr", preset="hggt")
        assert len(record(photos / "lr")) == 5


def test_invalid_input(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    with pytest.raises(InvalidInput, match="would be overwritten"):
        degrade_folder(photos, photos, preset="hggt")
    with pytest.raises(InvalidInput, match="would be overwritten"):
        degrade_folder(photos / "z.png", photos, preset="hggt")
    with pytest.raises(InvalidInput, match="is a file"):
        degrade_folder(photos, photos / "z.png", preset="hggt")
    with pytest.raises(InvalidInput, match="lie in the output folder"):
        degrade_folder(photos / "sub", photos, preset="hggt")
    with pytest.raises(InvalidInput, match="Unknown preset"):
        degrade_folder(photos, tmp_path / "lr", preset="hgtt")
    with pytest.raises(InvalidInput, match="scale must be 1 or more"):
        degrade_folder(photos, tmp_path / "lr", preset="hggt", scale=0)
    with pytest.raises(InvalidInput, match="seed must be 0 or more"):
        degrade_folder(photos, tmp_path / "lr", preset="hggt", seed=-1)
    with pytest.raises(InvalidInput, match="no file or folder"):
        degrade_folder(tmp_path / "nothing", tmp_path / "lr", preset="hggt")
    assert contents(photos) == before
    assert not (tmp_path / "lr").exists()
