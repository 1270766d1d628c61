"""Every kind of picture through the upscaler: what goes in is what comes out, twice as large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from goldeye.images import open_picture, read_image, write_image
from goldeye.networks.weights import LoadedModel
from goldeye.upscale import upscale_files
from hard_pictures import KINDS, scene


class Nearest(nn.Module):
    """Repeats pixels, so that the result is known."""

    receptive_radius = 0

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    path = tmp_path / "nearest.pth"
    path.touch()
    return LoadedModel(Nearest(), "nearest", {}, 2, {}, path)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_stays_what_it_is(tmp_path: Path, model: LoadedModel, name: str) -> None:
    """Type, alpha, grey and profile as in the input; pixels exact up to what the format and alpha cost."""
    kind = KINDS[name]
    source = tmp_path / "in" / f"ein Bild 画像 {name}"
    source.parent.mkdir()
    kind.make(source)
    result = upscale_files([source], tmp_path / "out", model=model, ext="auto", quality=100, tile=16)
    assert not result.failed
    before, after = open_picture(source), open_picture(tmp_path / "out" / source.name)
    assert after.pixels.dtype == before.pixels.dtype
    assert after.pixels.shape == (2 * before.pixels.shape[0], 2 * before.pixels.shape[1], 3)
    assert (after.grey, after.icc) == (before.grey, before.icc)
    small, tolerance = after.pixels[::2, ::2].astype(int), 0
    if source.suffix in (".jpg", ".webp"):
        tolerance = 14
    assert (after.alpha is None) == (before.alpha is None)
    if before.alpha is None or after.alpha is None:
        assert np.abs(small - before.pixels).max() <= tolerance
        return
    assert np.abs(after.alpha[::2, ::2].astype(int) - before.alpha).max() <= (1 if tolerance else 0)
    # Colours times alpha are kept in 16 bits: under an opacity of a tenth 12 of them are left.
    full = np.iinfo(before.alpha.dtype).max
    clear = before.alpha > full // 10
    assert np.abs(small - before.pixels)[clear].max() <= max(tolerance, full // 2**12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_a_turned_picture_comes_out_upright(tmp_path: Path, model: LoadedModel, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(scene()).save(tmp_path / f"a.{ending}", exif=exif)
    upscale_files([tmp_path / f"a.{ending}"], tmp_path / "out", model=model)
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.getexif().get(0x0112, 1) == 1
        result = np.asarray(image)
    assert np.array_equal(result[::2, ::2], read_image(tmp_path / f"a.{ending}"))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 3), (513, 2)])
def test_extreme_shapes(tmp_path: Path, model: LoadedModel, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    write_image(tmp_path / "a.png", pixels)
    for outscale in (2.0, 0.5, 3.7):
        out = tmp_path / f"{outscale}"
        upscale_files([tmp_path / "a.png"], out, model=model, outscale=outscale, color_fix=outscale > 3, tile=32)
        result = read_image(out / "a.png")
        assert result.shape[:2] == tuple(max(1, round(side * outscale)) for side in size)
    assert np.array_equal(read_image(tmp_path / "2.0" / "a.png")[::2, ::2], pixels)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_the_first_of_several_frames(tmp_path: Path, model: LoadedModel, name: str) -> None:
    frames = [Image.fromarray(scene()), Image.fromarray(255 - scene())]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    with pytest.warns(UserWarning, match="holds 2 pictures; the first is read"):
        result = upscale_files([tmp_path / name], tmp_path / "out", model=model)
    assert len(result.done) == 1
    assert np.array_equal(read_image(tmp_path / "out" / "a.png")[::2, ::2], scene())


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "deep.tif", "alpha.webp"])
@pytest.mark.parametrize("kept", [0, 10, 60, 95])
def test_cut_off_files_fail_by_name(tmp_path: Path, model: LoadedModel, name: str, kept: int) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    KINDS[name].make(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * kept // 100])
    write_image(tmp_path / "in" / "whole.png", scene())
    result = upscale_files([tmp_path / "in"], tmp_path / "out", model=model)
    assert [entry["input"] for entry in result.done] == [str(tmp_path / "in" / "whole.png")]
    (failure,) = result.failed
    assert name in failure["error"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole.png"]
