"""Files and folders: structure, skipping, failing, sizes, and what is refused before work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image
from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.images import image_size, matlab_resize, open_picture, read_image, to_float, to_uint8, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import LoadedModel, load_model, save_weights
from goldeye.upscale import upscale_files
from goldeye.upscale.run import made_by


class Nearest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def loaded(module: nn.Module, scale: int, path: Path) -> LoadedModel:
    """A model as if it had been read from a file (whose bytes are its name)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name)
    return LoadedModel(module, type(module).__name__, {}, scale, {}, path)


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return loaded(Nearest(), 2, tmp_path / "models" / "nearest.pth")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b.png", "sub/deep/c.png"):
        write_image(tmp_path / "photos" / name, rng.integers(0, 255, (10, 14, 3), np.uint8))
    return tmp_path / "photos"


def outputs(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_keeps_its_structure(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    result = upscale_files([photos], tmp_path / "out", model=model, suffix="_x2")
    assert outputs(tmp_path / "out") == ["a_x2.png", "sub/b_x2.png", "sub/deep/c_x2.png"]
    assert (result.skipped, result.failed) == ([], [])
    assert [set(entry) for entry in result.done] == [{"input", "output", "seconds"}] * 3
    assert result.done[0]["input"] == str(photos / "a.png")
    assert result.done[0]["output"] == str(tmp_path / "out" / "a_x2.png")
    expected = read_image(photos / "sub/b.png").repeat(2, 0).repeat(2, 1)
    assert np.array_equal(read_image(tmp_path / "out" / "sub/b_x2.png"), expected)


def test_single_files_go_into_the_folder_by_name(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    upscale_files([photos / "a.png", photos / "sub/b.png"], tmp_path / "out", model=model, ext="JPG")
    assert outputs(tmp_path / "out") == ["a.jpg", "b.jpg"]


def test_one_file_to_one_file(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    result = upscale_files([photos / "a.png"], tmp_path / "large.webp", model=model)
    assert result.done[0]["output"] == str(tmp_path / "large.webp")
    assert image_size(tmp_path / "large.webp") == (20, 28)


def test_a_second_run_skips_what_is_finished(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    out = tmp_path / "out"
    upscale_files([photos], out, model=model)
    (out / "sub" / "b.png").unlink()
    write_image(out / "a.png", np.zeros((2, 2, 3), np.uint8))
    result = upscale_files([photos], out, model=model)
    assert [entry["input"] for entry in result.done] == [str(photos / "sub/b.png")]
    assert [set(entry) for entry in result.skipped] == [{"input", "output"}] * 2
    assert image_size(out / "a.png") == (2, 2)
    assert len(upscale_files([photos], out, model=model, overwrite=True).done) == 3
    assert image_size(out / "a.png") == (20, 28)


def test_one_bad_file_is_reported_and_the_rest_goes_on(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    result = upscale_files([photos], tmp_path / "out", model=model)
    assert len(result.done) == 3
    (failure,) = result.failed
    assert failure["input"] == str(photos / "bad.png")
    assert "bad.png" in failure["error"]
    assert "bad.png" not in outputs(tmp_path / "out")


def test_a_network_that_fails_is_reported(photos: Path, tmp_path: Path) -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[3] == 6:
                raise RuntimeError("sizes do not match")
            return x

    write_image(photos / "odd.png", np.zeros((6, 6, 3), np.uint8))
    result = upscale_files([photos], tmp_path / "out", model=loaded(Fails(), 1, tmp_path / "fails.pth"))
    assert result.failed == [{"input": str(photos / "odd.png"), "error": "sizes do not match"}]
    assert len(result.done) == 3


@pytest.mark.parametrize(("outscale", "size"), [(1.5, (15, 21)), (3.0, (30, 42)), (0.01, (1, 1)), (2.0, (20, 28))])
def test_outscale_resizes_as_matlab_does(
    photos: Path, tmp_path: Path, model: LoadedModel, outscale: float, size: tuple[int, int]
) -> None:
    upscale_files([photos / "a.png"], tmp_path / "out", model=model, outscale=outscale)
    result = read_image(tmp_path / "out" / "a.png")
    assert result.shape[:2] == size
    large = to_float(read_image(photos / "a.png").repeat(2, 0).repeat(2, 1))
    assert np.array_equal(result, to_uint8(matlab_resize(large, *size)))


def test_an_enhancer_from_a_file_keeps_the_size(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
    module = build_network("rcan-x1", **config)
    save_weights(tmp_path / "e.safetensors", module, architecture="rcan-x1", config=config, scale=1)
    upscale_files([photos / "a.png"], tmp_path / "out", model=load_model(tmp_path / "e.safetensors"))
    before, after = read_image(photos / "a.png"), read_image(tmp_path / "out" / "a.png")
    assert after.shape == before.shape
    assert not np.array_equal(before, after)


class Uneven(nn.Module):
    """A network that colours grey a little, as trained ones do."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            torch.cat([x[:, :1] * 0.98, x[:, 1:2], x[:, 2:] * 0.9], 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
        )


@pytest.mark.parametrize("ext", ["png", "tif", "jpg", "webp", "bmp"])
def test_grey_stays_grey(tmp_path: Path, ext: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 14), np.uint8)
    Image.fromarray(values).save(tmp_path / "g.png")
    uneven = loaded(Uneven(), 2, tmp_path / "uneven.pth")
    upscale_files([tmp_path / "g.png"], tmp_path / "out", model=uneven, ext=ext)
    grey = open_picture(tmp_path / "out" / f"g.{ext}")
    if ext == "webp":  # which knows no grey: the colour is gone all the same
        assert np.abs(np.diff(grey.pixels.astype(int), axis=2)).max() <= 2
    else:
        assert grey.grey
    assert grey.pixels.shape == (20, 28, 3)
    expected = Image.fromarray(np.rint(values[..., None] * [0.98, 1, 0.9]).astype(np.uint8)).convert("L")
    if ext in ("png", "tif", "bmp"):
        assert np.array_equal(grey.pixels[::2, ::2, 0], np.asarray(expected))


@pytest.mark.parametrize("ext", ["png", "tif", "jpg", "webp", "bmp"])
def test_colours_exif_and_orientation_are_kept(tmp_path: Path, model: LoadedModel, ext: str) -> None:
    y, x = np.mgrid[:10, :14]
    pixels = np.stack([x * 17, y * 25, 100 + x * 5], axis=-1).astype(np.uint8)
    profile = bytes(pyvips.Image.profile_load("p3"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    Image.fromarray(pixels).save(tmp_path / "p.png", icc_profile=profile, exif=exif)
    upscale_files([tmp_path / "p.png"], tmp_path / "out", model=model, ext=ext)
    result = tmp_path / "out" / f"p.{ext}"
    expected = read_image(tmp_path / "p.png").repeat(2, 0).repeat(2, 1).astype(int)
    assert image_size(result) == (28, 20)
    assert np.abs(read_image(result) - expected).mean() < (6 if ext in ("jpg", "webp") else 0.5)
    kept = open_picture(result)
    if ext == "bmp":
        assert (kept.icc, kept.exif) == (None, None)
    else:
        assert kept.icc == profile
        with Image.open(result) as image:
            assert image.getexif()[0x010F] == "Maker"
            assert image.getexif().get(0x0112, 1) == 1
    if ext == "png":
        turned = np.rot90(pixels, -1).repeat(2, 0).repeat(2, 1)
        assert np.array_equal(kept.pixels, turned)


@pytest.mark.parametrize("ext", ["png", "tif", "webp"])
@pytest.mark.parametrize("deep", [False, True])
def test_alpha_and_16_bits_are_kept(tmp_path: Path, model: LoadedModel, ext: str, deep: bool) -> None:
    dtype = np.uint16 if deep else np.uint8
    full = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(full // 4, full, (10, 14, 4), dtype)
    write_image(tmp_path / "a.tif", pixels[..., :3], alpha=pixels[..., 3])
    upscale_files([tmp_path / "a.tif"], tmp_path / "out", model=model, ext=ext, quality=100)
    result = open_picture(tmp_path / "out" / f"a.{ext}")
    assert result.alpha is not None
    if ext == "webp":  # 8 bits, lossy
        assert result.pixels.dtype == np.uint8
        assert np.abs(result.alpha[::2, ::2] - pixels[..., 3] / (257 if deep else 1)).max() <= 1
    else:
        assert result.pixels.dtype == dtype
        off = np.abs(result.pixels - pixels[..., :3].repeat(2, 0).repeat(2, 1).astype(int))
        assert off.max() <= (2 if deep else 0)  # a quarter of opacity leaves 14 of 16 bits for a colour
        assert np.array_equal(result.alpha, pixels[..., 3].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("ext", ["jpg", "bmp"])
def test_formats_without_alpha_take_opaque_pictures_only(tmp_path: Path, model: LoadedModel, ext: str) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (10, 14, 3), np.uint8)
    write_image(tmp_path / "in" / "clear.png", colours, alpha=np.full((10, 14), 254, np.uint8))
    write_image(tmp_path / "in" / "opaque.png", colours, alpha=np.full((10, 14), 255, np.uint8))
    result = upscale_files([tmp_path / "in"], tmp_path / "out", model=model, ext=ext)
    assert [entry["input"] for entry in result.done] == [str(tmp_path / "in" / "opaque.png")]
    (failure,) = result.failed
    assert f"clear.{ext}' cannot be written: a .{ext} file holds no alpha channel" in failure["error"]


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path: Path, model: LoadedModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (10, 14, 3), np.uint16)
    write_image(tmp_path / "a.png", pixels)
    upscale_files([tmp_path / "a.png"], tmp_path / "out", model=model, ext="bmp")
    assert np.array_equal(read_image(tmp_path / "out" / "a.bmp")[::2, ::2], to_uint8(to_float(pixels)))


def test_the_file_says_what_made_it(tmp_path: Path, photos: Path, model: LoadedModel) -> None:
    for ext in ("png", "jpg", "webp", "tif"):
        upscale_files([photos / "a.png"], tmp_path / ext, model=model, ext=ext, outscale=1.5, ensemble=True)
        with Image.open(tmp_path / ext / f"a.{ext}") as image:
            software = image.getexif()[0x0131]
        assert software.startswith("goldeye ")
        assert f"; model nearest; sha256:{model.sha256[:16]}; x1.5; ensemble" in software
        assert made_by(tmp_path / ext / f"a.{ext}") == f"sha256:{model.sha256[:16]}; x1.5; ensemble"
    upscale_files([tmp_path / "png"], tmp_path / "again", model=model, color_fix=True)
    assert made_by(tmp_path / "again" / "a.png") == f"sha256:{model.sha256[:16]}; x2; color-fix"
    assert made_by(photos / "a.png") is None


def test_another_models_result_is_not_taken_for_ones_own(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    out, other = tmp_path / "out", loaded(Nearest(), 2, tmp_path / "other.pth")
    upscale_files([photos / "a.png"], out, model=model)
    before = (out / "a.png").read_bytes()
    for changed in ({"model": other}, {"model": model, "outscale": 3.0}, {"model": model, "ensemble": True}):
        with pytest.raises(InvalidInput, match=r"a\.png' was made with another model or setting"):
            upscale_files([photos], out, **changed)  # type: ignore[arg-type]
    assert outputs(out) == ["a.png"]
    assert (out / "a.png").read_bytes() == before
    renamed = loaded(Nearest(), 2, tmp_path / "elsewhere" / "nearest.pth")
    assert len(upscale_files([photos / "a.png"], out, model=renamed, tile=5).skipped) == 1
    assert len(upscale_files([photos / "a.png"], out, model=other, overwrite=True).done) == 1


def test_metadata_can_be_left_out(tmp_path: Path, model: LoadedModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (10, 14, 3), np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = bytes(pyvips.Image.profile_load("p3"))
    Image.fromarray(pixels).save(tmp_path / "p.png", icc_profile=profile, exif=exif)
    upscale_files([tmp_path / "p.png"], tmp_path / "out", model=model, strip_metadata=True)
    with Image.open(tmp_path / "out" / "p.png") as image:
        assert not image.getexif()
        assert "icc_profile" not in image.info
        assert np.array_equal(np.asarray(image)[::2, ::2], read_image(tmp_path / "p.png"))  # in sRGB
    assert not np.array_equal(read_image(tmp_path / "p.png"), pixels)


def test_patterns_and_endings_as_the_inputs(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    write_image(photos / "d.jpg", np.zeros((6, 6, 3), np.uint8))
    upscale_files([photos / "*.png"], tmp_path / "one", model=model)
    assert outputs(tmp_path / "one") == ["a.png"]
    upscale_files([photos / "**" / "*.png"], tmp_path / "all", model=model)
    assert outputs(tmp_path / "all") == ["a.png", "b.png", "c.png"]
    upscale_files([photos], tmp_path / "auto", model=model, ext="auto", suffix="_x2")
    assert outputs(tmp_path / "auto") == ["a_x2.png", "d_x2.jpg", "sub/b_x2.png", "sub/deep/c_x2.png"]
    write_image(photos / "[odd].png", np.zeros((6, 6, 3), np.uint8))
    assert len(upscale_files([photos / "[odd].png"], tmp_path / "odd", model=model).done) == 1
    with pytest.raises(InvalidInput, match=r"No picture matches '.*\*\.webp'"):
        upscale_files([photos / "*.webp"], tmp_path / "none", model=model)


@pytest.mark.parametrize("outscale", [None, 2.0])
def test_a_result_too_large_for_its_format_is_told_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: LoadedModel, outscale: float | None
) -> None:
    write_image(tmp_path / "wide.png", np.zeros((1, 8192, 3), np.uint8))
    monkeypatch.setattr(Nearest, "forward", lambda *_: pytest.fail("the network was run"))
    (failure,) = upscale_files([tmp_path], tmp_path / "out", model=model, ext="webp", outscale=outscale).failed
    assert "16384 x 2 pixels are too many for a .webp file" in failure["error"]
    assert not (tmp_path / "out").exists()


def test_two_inputs_for_one_output_are_refused_before_work(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    write_image(photos / "a.jpg", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InvalidInput, match=r"a\.jpg' and .*a\.png' would both be written to .*a\.png'"):
        upscale_files([photos], tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_the_same_picture_given_twice_is_done_once(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    result = upscale_files([photos / "a.png", photos / "sub" / ".." / "a.png"], tmp_path / "out", model=model)
    assert len(result.done) == 1


def test_an_input_is_never_overwritten(photos: Path, model: LoadedModel) -> None:
    before = (photos / "a.png").read_bytes()
    for output in (photos, photos / "a.png"):
        with pytest.raises(InvalidInput, match=r"a\.png' would overwrite an input"):
            upscale_files([photos / "a.png"], output, model=model, overwrite=True)
    assert (photos / "a.png").read_bytes() == before


def test_results_inside_the_input_folder_are_no_inputs(photos: Path, model: LoadedModel) -> None:
    first = upscale_files([photos], photos / "large", model=model)
    second = upscale_files([photos], photos / "large", model=model)
    assert len(first.done) == len(second.skipped) == 3
    assert second.done == []
    assert image_size(photos / "large" / "a.png") == (20, 28)


def test_results_may_go_above_the_input_folder(photos: Path, model: LoadedModel) -> None:
    assert len(upscale_files([photos / "sub"], photos / "sub" / "..", model=model).done) == 2
    assert image_size(photos / "b.png") == (20, 28)


def test_what_cannot_be_meant_is_refused(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    out = tmp_path / "out"
    with pytest.raises(InvalidInput, match="Several pictures cannot go into the one file"):
        upscale_files([photos], tmp_path / "out.png", model=model)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="is a file; a folder is needed"):
        upscale_files([photos], tmp_path / "file", model=model)
    with pytest.raises(InvalidInput, match=r"cannot be written as '\.gif'"):
        upscale_files([photos], out, model=model, ext="gif")
    for outscale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="output scale must be a positive number"):
            upscale_files([photos], out, model=model, outscale=outscale)
    with pytest.raises(InvalidInput, match="tile"):
        upscale_files([photos], out, model=model, tile=-1)
    with pytest.raises(InvalidInput, match="missing"):
        upscale_files([tmp_path / "missing"], out, model=model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="empty"):
        upscale_files([tmp_path / "empty"], out, model=model)
    assert not out.exists()


# What an earlier or another run left ---------------------------------------------------------------------------------


def test_results_beside_the_inputs_are_no_inputs_of_the_next_run(photos: Path, model: LoadedModel) -> None:
    first = upscale_files([photos], photos, model=model, suffix="_x2")
    second = upscale_files([photos], photos, model=model, suffix="_x2")
    assert len(first.done) == len(second.skipped) == 3
    assert (second.done, second.failed) == ([], [])
    again = upscale_files([photos / "**" / "*.png"], photos / "new", model=model, suffix="_x4")
    assert len(again.done) == 6, "to another place they are pictures like others"
    assert len(upscale_files([photos / "**" / "*.png"], photos / "new", model=model, suffix="_x4").skipped) == 6


def test_a_result_is_not_written_over_itself(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    upscale_files([photos / "a.png"], tmp_path / "out", model=model)
    for inputs in ([tmp_path / "out" / "a.png"], [tmp_path / "out"]):
        with pytest.raises(InvalidInput, match=r"a\.png' would overwrite an input"):
            upscale_files(inputs, tmp_path / "out", model=model, overwrite=True)


def test_a_wrong_limit_of_pixels_stops_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    monkeypatch.setenv("GOLDEYE_MAX_PIXELS", "many")
    with pytest.raises(InvalidInput, match="GOLDEYE_MAX_PIXELS must be a number"):
        upscale_files([photos], tmp_path / "out", model=model)


def test_a_link_to_an_input_is_an_input_of_its_own(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    (photos / "latest.png").symlink_to("a.png")
    result = upscale_files([photos], tmp_path / "out", model=model)
    assert len(result.done) == 4
    assert outputs(tmp_path / "out") == ["a.png", "latest.png", "sub/b.png", "sub/deep/c.png"]


def test_what_is_no_picture_is_not_taken_for_a_finished_one(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    upscale_files([photos], tmp_path / "out", model=model)
    (tmp_path / "out" / "a.png").write_bytes((tmp_path / "out" / "a.png").read_bytes()[:20])
    (tmp_path / "out" / "sub" / "b.png").unlink()
    (tmp_path / "out" / "sub" / "b.png").mkdir()
    result = upscale_files([photos], tmp_path / "out", model=model)
    assert [entry["input"] for entry in result.done] == [str(photos / "a.png")]
    assert [entry["input"] for entry in result.failed] == [str(photos / "sub" / "b.png")]
    assert "it is a folder" in result.failed[0]["error"]


def test_metadata_that_is_there_is_not_left_by_skipping(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    upscale_files([photos / "a.png"], tmp_path / "out", model=model)
    with pytest.raises(InvalidInput, match="now it would be no metadata"):
        upscale_files([photos / "a.png"], tmp_path / "out", model=model, strip_metadata=True)
    upscale_files([photos / "a.png"], tmp_path / "out", model=model, strip_metadata=True, overwrite=True)
    assert len(upscale_files([photos / "a.png"], tmp_path / "out", model=model, strip_metadata=True).skipped) == 1


def test_a_folder_that_takes_no_files_is_told_before_work(
    photos: Path, monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    monkeypatch.setattr(Nearest, "forward", lambda *_: pytest.fail("the network was run"))
    with pytest.raises(InvalidInput, match=r"Nothing can be written to the folder '/proc/self/results'"):
        upscale_files([photos / "a.png"], Path("/proc/self/results"), model=model)


@pytest.mark.parametrize("pattern", ["**x/*.png", "sub/**"])
def test_odd_patterns(photos: Path, tmp_path: Path, model: LoadedModel, pattern: str) -> None:
    """A pattern matches pictures: not folders, not links that lead nowhere."""
    (photos / "sub" / "broken.png").symlink_to("nowhere")
    (photos / "sub" / "empty").mkdir()
    try:
        result = upscale_files([photos / pattern], tmp_path / "out", model=model)
    except InvalidInput as error:
        assert pattern in error.message  # noqa: PT017  which Python versions refuse a pattern differs
    else:
        assert not result.failed


def test_a_long_name_is_written(tmp_path: Path, model: LoadedModel) -> None:
    name = "n" * 247 + ".png"
    write_image(tmp_path / "in.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "in.png").rename(tmp_path / name)
    assert len(upscale_files([tmp_path / name], tmp_path / "out", model=model).done) == 1


def test_one_output_file_has_its_own_name(photos: Path, tmp_path: Path, model: LoadedModel) -> None:
    for option in ({"suffix": "_x"}, {"ext": "jpg"}):
        with pytest.raises(InvalidInput, match="--suffix and --ext are for folders"):
            upscale_files([photos / "a.png"], tmp_path / "b.jpg", model=model, **option)  # type: ignore[arg-type]
