"""`goldeye pairs`: EDL's HR and LR pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goldeye.cli import run
from goldeye.curate.noise import collect_noise
from goldeye.curate.pairs import hr_lr_pair, make_pairs
from goldeye.degrade import get_pipeline
from goldeye.errors import InvalidInput
from goldeye.images import matlab_resize, read_image, to_float, to_uint8, write_image


def picture(seed: int, height: int, width: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_image(folder / "a.png", picture(1, 48, 64))
    write_image(folder / "sub" / "odd ü.png", picture(2, 47, 61))
    write_image(folder / "sub" / "z.jpg", picture(3, 40, 40))
    return folder


def contents(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def inputs(items: list[dict[str, Any]]) -> list[str]:
    return [Path(item["input"]).name for item in items]


@pytest.mark.parametrize(("clean", "scale"), [(2, 4), (1, 2), (3, 1)])
def test_pairs_are_matlabs_bicubic_of_the_source(photos: Path, tmp_path: Path, clean: int, scale: int) -> None:
    output = tmp_path / "pairs"
    result = make_pairs(photos, output, clean=clean, scale=scale)
    assert inputs(result.done) == ["a.png", "odd ü.png", "z.jpg"]
    for name in ("a.png", "sub/odd ü.png", "sub/z.jpg"):
        source = to_float(read_image(photos / name))
        height, width = (side // (clean * scale) for side in source.shape[:2])
        source = source[: height * clean * scale, : width * clean * scale]
        hr = read_image((output / "HR" / name).with_suffix(".png"))
        lr = read_image((output / "LR" / name).with_suffix(".png"))
        np.testing.assert_array_equal(hr, to_uint8(matlab_resize(source, height * scale, width * scale)))
        np.testing.assert_array_equal(lr, to_uint8(matlab_resize(to_float(hr), height, width)))
        # Of the unrounded HR, as in the official code, it is the same to one level.
        unrounded = to_uint8(matlab_resize(matlab_resize(source, height * scale, width * scale), height, width))
        assert np.abs(lr.astype(int) - unrounded).max() <= 1


def test_lr_is_the_bicubic_preset_of_the_hr_file(photos: Path, tmp_path: Path) -> None:
    make_pairs(photos, tmp_path / "pairs")
    hr = to_float(read_image(tmp_path / "pairs" / "HR" / "sub" / "odd ü.png"))
    assert hr.shape == (20, 28, 3)
    lr = get_pipeline("bicubic").apply(hr, {"scale": 4, "steps": [{"step": "bicubic"}]})
    np.testing.assert_array_equal(read_image(tmp_path / "pairs" / "LR" / "sub" / "odd ü.png"), to_uint8(lr))


def test_too_small_for_a_pair() -> None:
    with pytest.raises(ValueError, match="at least 8 pixels"):
        hr_lr_pair(picture(1, 7, 30), 2, 4)


def test_finished_pairs_are_skipped_and_changed_ones_made_anew(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs"
    make_pairs(photos, output)
    before = contents(output)
    again = make_pairs(photos, output)
    assert (len(again.skipped), len(again.done)) == (3, 0)
    assert contents(output) == before
    (output / "LR" / "a.png").unlink()
    write_image(photos / "sub" / "z.jpg", picture(4, 40, 40))
    assert inputs(make_pairs(photos, output).done) == ["a.png", "z.jpg"]
    make_pairs(photos, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")
    assert len(make_pairs(photos, output, scale=2).done) == 3


def test_an_interrupted_run_continues(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "pairs"

    def stop_at_lr(path: Path, *rest: Any) -> None:
        if path.parts[-3:] == ("LR", "sub", "odd ü.png"):
            raise KeyboardInterrupt
        write_image(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.curate.pairs.write_image", stop_at_lr)
        with pytest.raises(KeyboardInterrupt):
            make_pairs(photos, output)
    with (output / "pairs.jsonl").open("ab") as file:
        file.write(b'{"name": "sub/odd')
    result = make_pairs(photos, output)
    assert inputs(result.skipped) == ["a.png"]
    make_pairs(photos, tmp_path / "whole")
    assert contents(output) == contents(tmp_path / "whole")


def test_failures_are_named_and_the_rest_goes_on(photos: Path, tmp_path: Path, capsys: Any) -> None:
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:300])
    write_image(photos / "small.png", picture(5, 7, 50))
    write_image(photos / "sub" / "z.png", picture(6, 40, 40))  # the pair of z.jpg
    assert run(["pairs", str(photos), "-o", str(tmp_path / "pairs"), "--json"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["schema"] == "goldeye.pairs/1"
    assert inputs(found["done"]) == ["odd ü.png", "z.jpg"]
    assert set(found["done"][0]) == {"input", "hr", "lr"}
    errors = {Path(item["input"]).name: item["error"] for item in found["failed"]}
    assert "truncated or damaged" in errors["a.png"]
    assert "too small: 50 x 7 pixels, of at least 8 a side" in errors["small.png"]
    assert "over the pair of" in errors["z.png"]
    assert "small.png" in printed.err


def test_pairs_of_the_pictures_that_gave_noise(tmp_path: Path) -> None:
    def flat(seed: int) -> Any:
        rows = np.random.default_rng(seed).normal(120, 2, (32, 32, 3))
        return np.rint(rows).astype(np.uint8)

    write_image(tmp_path / "photos" / "flat.png", np.concatenate([flat(0), flat(1), flat(2), flat(3)]))
    write_image(tmp_path / "others" / "flat.png", np.concatenate([flat(1), picture(3, 32, 32)]))
    write_image(tmp_path / "others" / "texture.png", picture(2, 32, 32))
    bank, output = tmp_path / "bank", tmp_path / "pairs"
    collect_noise(tmp_path / "photos", bank, auxiliary=tmp_path / "others", patch=32, share=1)
    result = make_pairs(tmp_path / "others", output, noise_bank=bank)
    assert [item["input"] for item in result.done] == [str(tmp_path / "others" / "flat.png")]
    assert not (output / "HR" / "texture.png").exists()
    with pytest.raises(InvalidInput, match="gave noise"):
        make_pairs(tmp_path / "photos", output, noise_bank=bank)
    collect_noise(tmp_path / "photos", tmp_path / "alone", patch=32)
    with pytest.raises(InvalidInput, match="without an auxiliary set"):
        make_pairs(tmp_path / "others", output, noise_bank=tmp_path / "alone")


def test_invalid_input(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds the input"):
        make_pairs(photos / "a.png", photos)
    with pytest.raises(InvalidInput, match="is a file"):
        make_pairs(photos, photos / "a.png")
    with pytest.raises(InvalidInput, match="lie in the output folder"):
        make_pairs(photos / "sub", photos)
    with pytest.raises(InvalidInput, match="clean-up factor must be 1"):
        make_pairs(photos, tmp_path / "pairs", clean=0)
    with pytest.raises(InvalidInput, match="scale must be 1"):
        make_pairs(photos, tmp_path / "pairs", scale=0)
    assert not (tmp_path / "pairs").exists()
