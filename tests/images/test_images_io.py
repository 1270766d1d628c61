from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from PIL import Image, ImageCms

from goldeye.errors import ImageError, InvalidInput
from goldeye.images import find_images, image_size, open_picture, read_image, write_image

LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]
LOSSY = [".jpg", ".jpeg", ".webp"]


def smooth(height: int = 45, width: int = 70) -> npt.NDArray[np.uint8]:
    """A picture that lossy codecs keep well, different in its four corners and three channels."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    values: npt.NDArray[np.float64] = np.stack([200 * x, 220 * y, 120 + 100 * np.sin(3 * x + 2 * y)], axis=-1)
    return np.rint(values).astype(np.uint8)


def save(path: Path, pixels: npt.NDArray[Any], mode: str | None = None, **settings: Any) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **settings)
    return path


def file_bytes(suffix: str, pixels: npt.NDArray[Any] | None = None) -> bytes:
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    Image.fromarray(smooth() if pixels is None else pixels).save(buffer, kind)
    return buffer.getvalue()


# Round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("name", ["plain", "with space", "bild_ü_画像", "a[page=2]", "dots.in.name"])
def test_lossless_round_trip(tmp_path: Path, suffix: str, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    path = tmp_path / "sub folder" / (name + suffix)
    write_image(path, pixels)
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, pixels)
    assert image_size(path) == (13, 17)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_round_trip(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (70, 9, 3), np.uint16)
    write_image(tmp_path / f"deep{suffix}", pixels)
    read = read_image(tmp_path / f"deep{suffix}")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_round_trip_and_quality(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"fine{suffix}", smooth(), quality=95)
    write_image(tmp_path / f"coarse{suffix}", smooth(), quality=20)
    errors = [
        np.abs(read_image(tmp_path / f"{name}{suffix}") - smooth().astype(int)).mean() for name in ("fine", "coarse")
    ]
    assert errors[0] < 2
    assert errors[1] > errors[0]


def test_other_readers_agree(tmp_path: Path) -> None:
    for suffix in LOSSLESS:
        write_image(tmp_path / f"a{suffix}", smooth())
        with Image.open(tmp_path / f"a{suffix}") as image:
            np.testing.assert_array_equal(np.asarray(image), smooth())


# Kinds of pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_grey_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    read = read_image(save(tmp_path / f"grey{suffix}", smooth()[..., 1]))
    assert read.shape == smooth().shape
    assert (read == read[..., :1]).all()
    assert np.abs(read[..., 0] - smooth()[..., 1].astype(int)).max() <= (3 if suffix == ".jpg" else 0)


def test_deep_grey_stays_deep(tmp_path: Path) -> None:
    deep = smooth()[..., 0].astype(np.uint16) * 200
    read = read_image(save(tmp_path / "grey.png", deep))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, deep[..., None].repeat(3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".bmp"):
        path = save(tmp_path / f"bit{suffix}", smooth(), "1")
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_alpha_is_dropped(tmp_path: Path, name: str) -> None:
    alpha = np.full((*smooth().shape[:2], 1), 90, np.uint8)
    alpha[:20] = 0
    extra: dict[str, Any] = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, np.concatenate([smooth(), alpha], axis=2), **extra)
    np.testing.assert_array_equal(read_image(path), smooth())


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    palette = Image.fromarray(smooth()).convert("P", palette=Image.Palette.ADAPTIVE)
    expected = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / "p.png")
    palette.save(tmp_path / "t.png", transparency=3)
    palette.save(tmp_path / "p.bmp")
    for name in ("p.png", "t.png", "p.bmp"):
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def test_grey_with_alpha(tmp_path: Path) -> None:
    read = read_image(save(tmp_path / "la.png", smooth(), "LA"))
    np.testing.assert_array_equal(read[..., 0], np.asarray(Image.fromarray(smooth()).convert("L")))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    for name in ("c.jpg", "c.tif"):
        read = read_image(save(tmp_path / name, smooth(), "CMYK"))
        assert read.shape == smooth().shape
        assert all(np.corrcoef(read[..., c].ravel(), smooth()[..., c].ravel())[0, 1] > 0.8 for c in range(3))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    """The stored pixels are what a camera held that way records; reading must give the upright scene."""
    scene = Image.fromarray(smooth())
    transposes = Image.Transpose
    record = {
        2: transposes.FLIP_LEFT_RIGHT,
        3: transposes.ROTATE_180,
        4: transposes.FLIP_TOP_BOTTOM,
        5: transposes.TRANSPOSE,
        6: transposes.ROTATE_90,
        7: transposes.TRANSVERSE,
        8: transposes.ROTATE_270,
    }
    stored = scene.transpose(record[orientation]) if orientation > 1 else scene
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, Any]] = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    path = tmp_path / f"o{suffix}"
    stored.save(path, exif=exif, **options.get(suffix, {}))
    read = read_image(path)
    assert read.shape == smooth().shape
    assert np.abs(read - smooth().astype(int)).max() <= 6  # JPEG rounds
    assert image_size(path) == smooth().shape[:2]


def test_only_the_first_frame_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(smooth()), Image.fromarray(255 - smooth())
    first.save(tmp_path / "m.tif", save_all=True, append_images=[second])
    first.save(tmp_path / "m.png", save_all=True, append_images=[second])
    first.save(tmp_path / "m.webp", save_all=True, append_images=[second], lossless=True)
    for name in ("m.tif", "m.png", "m.webp"):
        with pytest.warns(UserWarning, match=rf"{name}' holds 2 pictures; the first is read\."):
            np.testing.assert_array_equal(read_image(tmp_path / name), smooth())
    save(tmp_path / "one.png", smooth())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "one.png")
        image_size(tmp_path / "m.tif")


def test_a_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    profile = bytes(pyvips.Image.profile_load("p3"))
    for name in ("p3.png", "p3.tif", "p3.webp"):
        extra: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
        path = save(tmp_path / name, smooth(), icc_profile=profile, **extra)
        expected = ImageCms.profileToProfile(
            Image.fromarray(smooth()), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        )
        assert expected is not None
        read = read_image(path).astype(int)
        assert np.abs(read - smooth()).mean() > 3
        assert np.abs(read - np.asarray(expected)).mean() < 0.5


def test_srgb_and_broken_profiles_change_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile at all" * 20):
        path = save(tmp_path / "s.png", smooth(), icc_profile=profile)
        np.testing.assert_array_equal(read_image(path), smooth())
        deep = smooth().astype(np.uint16) * 250 + 7
        image = pyvips.Image.new_from_array(deep).copy(interpretation="rgb16")
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        image.pngsave(str(tmp_path / "deep.png"))
        np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), deep)


def test_the_content_counts_not_the_ending(tmp_path: Path) -> None:
    (tmp_path / "really_png.jpg").write_bytes(file_bytes(".png"))
    np.testing.assert_array_equal(read_image(tmp_path / "really_png.jpg"), smooth())


# Refusals --------------------------------------------------------------------------------------------------------


def refused(path: Path, match: str, **settings: Any) -> None:
    """Both readers refuse with one sentence that names the file."""
    for read in (read_image, open_picture):
        with pytest.raises(ImageError, match=match) as caught:
            read(path, **settings)
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


def test_missing_empty_folder_and_text(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("a shopping list")
    (tmp_path / "drawing.png").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    refused(tmp_path / "nothing.png", "There is no picture")
    refused(tmp_path / "empty.png", "is empty")
    refused(tmp_path / "text.png", "is not a picture")
    refused(tmp_path / "drawing.png", "is not a picture")
    refused(tmp_path, "is a folder")
    with pytest.raises(ImageError, match="is empty"):
        image_size(tmp_path / "empty.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    data = file_bytes(suffix, np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    path = tmp_path / f"cut{suffix}"
    for share in (0.02, 0.3, 0.6, 0.9, 0.98):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path, "truncated or damaged|is not a picture")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_too_many_pixels(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"big{suffix}").write_bytes(file_bytes(suffix))
    refused(tmp_path / f"big{suffix}", "70 x 45 pixels, more than the limit of 3,149", max_pixels=45 * 70 - 1)
    assert read_image(tmp_path / f"big{suffix}", max_pixels=45 * 70).shape == (45, 70, 3)


def test_a_small_file_that_claims_a_huge_picture(tmp_path: Path) -> None:
    data = bytearray(file_bytes(".bmp"))
    data[18:26] = (200_000).to_bytes(4, "little") * 2
    (tmp_path / "bomb.bmp").write_bytes(bytes(data))
    refused(tmp_path / "bomb.bmp", "200000 x 200000 pixels")


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", smooth())
    monkeypatch.setenv("GOLDEYE_MAX_PIXELS", "3149")
    refused(tmp_path / "a.png", "more than the limit of 3,149")
    with pytest.raises(ImageError, match="more than the limit"):
        image_size(tmp_path / "a.png")
    monkeypatch.setenv("GOLDEYE_MAX_PIXELS", "3150")
    assert read_image(tmp_path / "a.png").shape == (45, 70, 3)
    monkeypatch.setenv("GOLDEYE_MAX_PIXELS", "many")
    with pytest.raises(InvalidInput, match="GOLDEYE_MAX_PIXELS must be a number of pixels, not 'many'"):
        read_image(tmp_path / "a.png")


def test_a_picture_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("goldeye.images.io._decode", full)
    refused(save(tmp_path / "a.png", smooth()), "does not fit into memory")


def test_fewer_pixels_than_needed(tmp_path: Path) -> None:
    save(tmp_path / "small.png", smooth())
    refused(tmp_path / "small.png", "has 70 x 45 pixels; each side needs at least 46", min_side=46)
    assert read_image(tmp_path / "small.png", min_side=45).shape == (45, 70, 3)


def test_samples_that_are_no_8_or_16_bit_integers(tmp_path: Path) -> None:
    refused(save(tmp_path / "float.tif", smooth()[..., 0].astype(np.float32)), "not 8 or 16 bit integers")


# Finding ---------------------------------------------------------------------------------------------------------


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", "sub/画.tiff", ".hidden/d.png", ".e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert names == ["a.png", "b.JPG", "sub/c.webp", "sub/画.tiff"]
    assert [path.name for path in find_images(tmp_path, recursive=False)] == ["a.png", "b.JPG"]
    assert find_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_find_images_refuses(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no file or folder"):
        find_images(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="There are no pictures in"):
        find_images(tmp_path)


def test_goldeye_itself_imports_nothing_heavy() -> None:
    check = "import sys, goldeye; assert not {'pyvips', 'torch', 'cv2'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
