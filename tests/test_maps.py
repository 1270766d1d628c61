"""The maps of LDL, HGGT and EDL: official numbers, toy pictures worked by hand, files, and the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor, nn

import goldeye.maps.run as maps_run
from goldeye.cli import run
from goldeye.errors import InvalidInput
from goldeye.images import read_image, to_float, to_tensor, write_image
from goldeye.maps import draw_hggt_group, draw_ldl, edl_maps, hggt_maps, ldl_maps
from goldeye.maps.sheet import MOST_ROWS, Panel, Row, bar_range, draw_sheet, full_range, write_map
from goldeye.networks import build_network
from goldeye.networks.edl import EDL
from goldeye.networks.rrdbnet import RRDBNet
from goldeye.networks.weights import load_model, save_weights

SMALL = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}
LOCAL = (1 - 49 * (1 / 49) ** 2) / 48  # unbiased variance of a 7 x 7 window that holds one 1 among zeros
PATCH = (1 - 225 * (1 / 225) ** 2) / 224  # of 15 x 15
PAIR = ((1 - 9 * (1 / 9) ** 2) / 8) ** 0.75  # HGGT's map where a 3 x 3 window holds one 1


def call(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any]]:
    """Exit status and the one JSON document on stdout."""
    code = run([str(word) for word in ("maps", *argv, "--json")])
    return code, json.loads(capsys.readouterr().out)


def arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def golden_tensors(golden: Path, name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(values) for key, values in arrays(golden / f"{name}.npz").items()}


def dotted(path: Path, dots: Mapping[tuple[int, int], tuple[int, int, int]], side: int = 15) -> Path:
    """Write a black picture with a few coloured pixels."""
    picture = np.zeros((side, side, 3), np.uint8)
    for place, colour in dots.items():
        picture[place] = colour
    write_image(path, picture)
    return path


def noise(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8))
    return path


@pytest.fixture
def edl(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "edl.safetensors"
    save_weights(path, build_network("edl", **SMALL), architecture="edl", config=SMALL, scale=4)
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Group "two": 01 positive by 2 of 3, 02 positive by all, 03 negative by 2 of 3. "lone": one negative by all."""
    votes = {"two": ("PPN", "PPP", "NNS"), "lone": ("SSS", "NNN", "SSS"), "none": ("PPP", "SSS", "PPP")}
    words = {"P": "Positive", "S": "Similar", "N": "Negative"}
    root = tmp_path / "dataset"
    for seed, (name, candidates) in enumerate(votes.items()):
        noise(root / "images" / "0-3" / "original" / f"{name}.png", 10 * seed)
        for slot in range(1, 4):
            noise(root / "images" / "0-3" / f"0{slot}" / f"{name}_0{slot}.png", 10 * seed + slot)
        for person, letter in enumerate("ABC"):
            pictures = {
                f"Picture_{slot + 1}": {"Name": name, "File": f"0{slot}", "Label": words[candidates[slot - 1][person]]}
                for slot in range(1, 4)
            }
            path = root / "labels" / "0-3" / letter / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(pictures))
    return root


# The official numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "window", "expected"), [("_rand", 7, "map_rand_k7"), ("_rand", 11, "map_rand_k11"), ("", 7, "map_k7")]
)
def test_ldl_gives_the_official_map(golden: Path, inputs: str, window: int, expected: str) -> None:
    data = golden_tensors(golden, "losses/ldl_artifact_map")
    for one in (slice(0, 1), slice(1, 2)):
        sr, gt, averaged = (data[f"{name}{inputs}"][one] for name in ("sr", "gt", "ema"))
        found = ldl_maps(sr, gt, averaged, window=window)
        np.testing.assert_allclose(found["M_refine"], data[expected][one][0, 0], rtol=1e-5, atol=1e-7)
        assert (found["M_refine"] == np.where(found["R1_less_R2"] > 0, 0, found["sigma_M"])).all()
        np.testing.assert_allclose(found["sigma_M"], found["sigma"] * found["M"], rtol=1e-6)


def test_hggt_gives_the_official_maps(golden: Path) -> None:
    data = golden_tensors(golden, "losses/hggt_overall_map")
    names = {"pos_map": "M_Pos", "neg_map": "M_Neg", "refined": "M_Ind"}
    compared = 0
    for key, expected in data.items():
        kind, _, votes = key.rpartition("_")
        if not votes.isdigit():
            continue
        positive_share, negative_share = (int(digit) / 3 for digit in votes)
        found = hggt_maps(
            data["original"],
            data["negative"],
            data["positive"],
            negative_weight=negative_share,
            positive_weight=positive_share,
        )
        np.testing.assert_allclose(found[names[kind]], expected[0, 0], rtol=2e-4, atol=1e-6)
        compared += 1
    assert compared == 10
    lone = hggt_maps(data["original"], data["negative"], negative_weight=2 / 3)
    np.testing.assert_allclose(lone["M_Ind"], data["neg_map_nopos"][0, 0], rtol=2e-4, atol=1e-6)
    assert "M_Pos" not in lone


def test_edl_gives_the_official_outputs_and_mask(golden: Path) -> None:
    data, inner = golden_tensors(golden, "models/edl_x4"), golden_tensors(golden, "models/edl_x4_intermediate")
    network = load_model(golden / "models" / "edl_x4.pth").module
    assert isinstance(network, EDL)
    found = edl_maps(network, data["input"])
    for name, key in {"fused": "output", "out1": "out1", "out2": "out2"}.items():
        np.testing.assert_allclose(found[name], data[key][0], rtol=0, atol=6.8e-5)
    np.testing.assert_allclose(found["M_alpha"][:, :24, :24], inner["mask_crop24"][0], rtol=0, atol=1e-4)
    assert (found["M_alpha_max"] == found["M_alpha"].max(axis=0)).all()


def test_the_group_of_a_dataset_in_the_official_layout(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, group = golden / "hggt_mini" / "Train", "0334-207-131"
    before = sorted(path for path in dataset.rglob("*"))
    code, document = call(capsys, "hggt", dataset, "--group", group, "-o", tmp_path / "out")
    assert code == 0
    assert [(found["negative"], found["positive"]) for found in document["sets"]] == [
        ("04", "01"),
        ("04", "02"),
        ("04", "03"),
    ]
    weights = [(found["negative_weight"], found["positive_weight"]) for found in document["sets"]]
    assert weights == [(1, 1), (1, pytest.approx(2 / 3)), (1, pytest.approx(2 / 3))]
    folder = dataset / "images" / "0-12"
    original, negative, positive = (
        to_tensor(read_image(folder / name))
        for name in (f"original/{group}.png", f"04/{group}_04.png", f"03/{group}_03.png")
    )
    expected = hggt_maps(original, negative, positive, positive_weight=2 / 3)
    written = arrays(tmp_path / "out" / "negative-04_positive-03" / "maps.npz")
    assert written.keys() == expected.keys() == {"R_Neg", "M_Neg", "M_Pos", "M_Ind"}
    for name, values in written.items():
        assert values.dtype == np.float32
        assert (values == expected[name]).all()
    assert before == sorted(path for path in dataset.rglob("*"))  # a dataset is only read


# By hand --------------------------------------------------------------------------------------------------------------


def test_ldl_by_hand_through_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A residual of 1 at one pixel; the averaged weights are further off there."""
    sr = dotted(tmp_path / "sr.png", {(7, 7): (255, 0, 0)})
    gt = dotted(tmp_path / "gt.png", {})
    averaged = dotted(tmp_path / "ema.png", {(7, 7): (255, 255, 0)})
    code, document = call(capsys, "ldl", sr, gt, "--averaged", averaged, "-o", tmp_path / "out")
    assert code == 0
    assert document["schema"] == "goldeye.maps/1"
    found = arrays(tmp_path / "out" / "maps.npz")
    assert list(found) == ["R", "sigma", "M", "sigma_M", "M_refine", "R1_less_R2"]
    dot = np.zeros((15, 15), np.float32)
    dot[7, 7] = 1
    around = np.zeros((15, 15), np.float32)
    around[4:11, 4:11] = LOCAL
    assert (found["R"] == dot).all()
    assert float(found["sigma"]) == pytest.approx(PATCH**0.2, rel=1e-6)
    np.testing.assert_allclose(found["M"], around, rtol=1e-6)
    np.testing.assert_allclose(found["sigma_M"], PATCH**0.2 * around, rtol=1e-6)
    np.testing.assert_allclose(found["M_refine"], PATCH**0.2 * around * (1 - dot), rtol=1e-6)
    assert (found["R1_less_R2"] == dot).all()

    # M, sigma M and M_refine have one scale: white is the largest of all, M's.
    maps = document["sets"][0]["maps"]
    assert maps["M"]["range"] == maps["sigma_M"]["range"] == maps["M_refine"]["range"]
    assert maps["M"]["range"] == [0, pytest.approx(LOCAL)]
    assert (maps["R"]["min"], maps["R"]["max"], maps["R"]["mean"]) == (0, 1, pytest.approx(1 / 225))
    picture = read_image(tmp_path / "out" / "sigma_M.png")
    assert picture.dtype == np.uint16
    assert set(np.unique(picture)) == {0, round(PATCH**0.2 * 65535)}
    assert read_image(tmp_path / "out" / "M.png").max() == 65535
    assert json.loads((tmp_path / "out" / "maps.json").read_text()) == document
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"{name}.png" for name in (*found, "sheet") if name != "sigma"} | {"maps.npz", "maps.json"}


def test_without_the_averaged_result_nothing_is_refined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sr, gt = dotted(tmp_path / "sr.png", {(7, 7): (255, 0, 0)}), dotted(tmp_path / "gt.png", {})
    assert call(capsys, "ldl", sr, gt, "-o", tmp_path / "out")[0] == 0
    assert set(arrays(tmp_path / "out" / "maps.npz")) == {"R", "sigma", "M", "sigma_M"}
    assert not (tmp_path / "out" / "M_refine.png").exists()


def test_the_signed_residual_keeps_its_sign_and_its_picture_shows_the_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sr, gt = dotted(tmp_path / "sr.png", {(7, 7): (255, 0, 0)}), dotted(tmp_path / "gt.png", {(2, 2): (0, 51, 0)})
    code, document = call(capsys, "ldl", sr, gt, "--residual", "signed", "--window", "5", "-o", tmp_path / "out")
    assert (code, document["settings"]) == (0, {"window": 5, "residual": "signed", "crop": None})
    found = arrays(tmp_path / "out" / "maps.npz")["R"]
    assert (found[7, 7], found[2, 2]) == (-1, pytest.approx(0.2))
    assert (document["sets"][0]["maps"]["R"]["min"], document["sets"][0]["maps"]["R"]["range"]) == (-1, [0, 1])
    picture = read_image(tmp_path / "out" / "R.png")
    assert (picture[7, 7, 0], picture[2, 2, 0], picture[0, 0, 0]) == (65535, round(0.2 * 65535), 0)


def test_hggt_by_hand_through_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The negative differs in two places, the positive as much in one of them: only the other counts."""
    original = dotted(tmp_path / "o.png", {})
    negative = dotted(tmp_path / "n.png", {(3, 3): (0, 255, 0), (11, 11): (0, 255, 0)})
    positive = dotted(tmp_path / "p.png", {(11, 11): (0, 0, 255)})
    pictures = ["--original", original, "--negative", negative]
    code, _ = call(capsys, "hggt", *pictures, "--positive", positive, "-o", tmp_path / "out")
    assert code == 0
    found = arrays(tmp_path / "out" / "maps.npz")
    first, second = np.zeros((2, 15, 15), np.float32)
    first[2:5, 2:5] = second[10:13, 10:13] = PAIR
    np.testing.assert_allclose(found["M_Neg"], first + second, rtol=1e-6)
    np.testing.assert_allclose(found["M_Pos"], second, rtol=1e-6)
    np.testing.assert_allclose(found["M_Ind"], first, rtol=1e-6)
    assert found["R_Neg"].sum() == 2
    assert read_image(tmp_path / "out" / "M_Ind.png")[3, 3, 0] == 65535
    code, document = call(capsys, "hggt", *pictures, "-o", tmp_path / "alone")
    assert (code, document["sets"][0]["caption"]) == (0, "no positive: M^Ind is M^Neg")
    alone = arrays(tmp_path / "alone" / "maps.npz")
    assert (alone["M_Ind"] == alone["M_Neg"]).all()


def test_edl_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str], edl: Path) -> None:
    """Blocks whose last convolutions are zero pass their input on: M is the picture's softmax, x = y = the picture."""
    network = load_model(edl).module
    assert isinstance(network, EDL)
    with torch.no_grad():
        for name, layer in network.named_modules():
            if name.startswith(("branch", "sm")) and isinstance(layer, nn.Conv2d) and layer.out_channels == 3:
                layer.weight.zero_()
                layer.bias.zero_()  # type: ignore[union-attr]
    save_weights(edl, network, architecture="edl", config=SMALL, scale=4)
    lr = noise(tmp_path / "lr.png", 1, (9, 7))
    code, document = call(capsys, "edl", edl, lr, "-o", tmp_path / "out", "--device", "cpu")
    assert code == 0
    with torch.no_grad():
        picture = RRDBNet.forward(network, to_tensor(read_image(lr)))[0].numpy()
    mask = np.exp(picture) / np.exp(picture).sum(axis=0)
    found = arrays(tmp_path / "out" / "maps.npz")
    assert found["fused"].shape == (3, 36, 28)
    np.testing.assert_allclose(found["M_alpha"], mask, atol=1e-6)
    np.testing.assert_allclose(found["out1"], mask * picture, atol=1e-6)
    np.testing.assert_allclose(found["fused"], picture, atol=1e-6)
    np.testing.assert_allclose(found["M_alpha"].mean(axis=0), 1 / 3, atol=1e-6)
    assert (found["fused"] == found["out1"] + found["out2"]).all()
    assert (document["sets"][0]["channels"], document["inputs"]["model"]) == (3, str(edl))
    maps = document["sets"][0]["maps"]
    assert maps["fused"]["range"] == maps["out1"]["range"] == maps["out2"]["range"]
    low, high = maps["fused"]["range"]
    assert low == min(0, *(maps[name]["min"] for name in ("fused", "out1", "out2")))
    assert high >= 1
    shown = to_float(read_image(tmp_path / "out" / "out2.png")) * (high - low) + low
    np.testing.assert_allclose(shown.transpose(2, 0, 1), found["out2"], atol=(high - low) / 65535)
    assert (tmp_path / "out" / "M_alpha_B.png").is_file()


@pytest.mark.parametrize("scale", [1, 2])
def test_edl_of_other_scales_and_odd_sizes(scale: int) -> None:
    torch.manual_seed(0)
    network = build_network("edl", scale=scale, **SMALL)
    assert isinstance(network, EDL)
    found = edl_maps(network.eval(), torch.rand(1, 3, 9, 11))
    assert {values.shape[-2:] for values in found.values()} == {(9 * scale, 11 * scale)}


# Datasets -------------------------------------------------------------------------------------------------------------


def test_each_negative_is_drawn_with_each_positive(labelled: Path, tmp_path: Path) -> None:
    document = draw_hggt_group(labelled, "two", tmp_path / "out")
    assert [found["folder"] for found in document["sets"]] == ["negative-03_positive-01", "negative-03_positive-02"]
    assert document["sets"][0]["caption"] == "negative 03 (03), weight 0.667; positive 01 (01), weight 0.667"
    ranges = [found["maps"][name]["range"] for found in document["sets"] for name in ("M_Neg", "M_Pos", "M_Ind")]
    assert ranges == [ranges[0]] * 6
    largest = max(found["maps"][name]["max"] for found in document["sets"] for name in ("M_Neg", "M_Pos"))
    assert ranges[0] == [0, largest]

    plain = draw_hggt_group(labelled, "two", tmp_path / "plain", vote_weighting=False)
    assert {found["negative_weight"] for found in plain["sets"]} == {1.0}
    weighted = arrays(tmp_path / "out" / "negative-03_positive-02" / "maps.npz")
    unweighted = arrays(tmp_path / "plain" / "negative-03_positive-02" / "maps.npz")
    np.testing.assert_allclose(weighted["M_Neg"], unweighted["M_Neg"] * np.float32(2 / 3), rtol=1e-6)
    assert (weighted["M_Pos"] == unweighted["M_Pos"]).all()


def test_groups_without_positive_and_without_negative(labelled: Path, tmp_path: Path) -> None:
    document = draw_hggt_group(labelled, "lone", tmp_path / "out")
    assert [found["folder"] for found in document["sets"]] == ["negative-02"]
    found = arrays(tmp_path / "out" / "negative-02" / "maps.npz")
    assert (found["M_Ind"] == found["M_Neg"]).all()
    with pytest.raises(InvalidInput, match="no candidate with the final label Negative") as error:
        draw_hggt_group(labelled, "none", tmp_path / "none")
    assert error.value.hint == "Groups with one: lone, two."
    assert not (tmp_path / "none").exists()


# Pictures -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), st.booleans())
def test_a_picture_holds_its_values_to_half_a_level(values: list[float], colour: bool) -> None:
    import tempfile

    array = np.array(values, np.float32).reshape(2, 2)
    array = np.stack([array, array.T, -array]) if colour else array
    low, high = full_range([array])
    assert (low, high) == (min(0, array.min()), array.max())
    if not high > low:
        high = low + 1
    with tempfile.TemporaryDirectory() as folder:
        write_map(Path(folder) / "map.png", array, (low, high))
        shares = to_float(read_image(Path(folder) / "map.png")).transpose(2, 0, 1)
    np.testing.assert_allclose(
        shares * (high - low) + low, np.broadcast_to(array, (3, 2, 2)), atol=0.51 * (high - low) / 65535 + 1e-6
    )


def test_ranges_by_hand() -> None:
    steps = np.arange(1001, dtype=np.float32)
    assert bar_range([steps[:500], steps[500:]]) == pytest.approx((0, 999))  # one value of 1001 lies above
    assert bar_range([steps + 5], from_zero=False) == pytest.approx((6, 1004))
    sparse = np.zeros((100, 100), np.float32)
    sparse[0, 0] = 3
    assert bar_range([sparse]) == (0, 3)
    assert full_range([sparse, -sparse]) == (-3, 3)
    assert full_range([sparse + 1]) == (0, 4)


def test_the_sheet_shows_pictures_pixel_by_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = (rng.integers(0, 256, (3, 250, 240)) / 255).astype(np.float32)
    values = np.linspace(0, 2, 250 * 240, dtype=np.float32).reshape(250, 240)
    panels = [Panel("a", picture, (0, 1), "picture"), Panel("$M$", values, (0, 1), "map")]
    panels.append(Panel("c", (values > 1).astype(np.float32), (0, 1), "places"))
    draw_sheet(tmp_path / "sheet.png", "A title of $5", [Row("a caption", panels)])
    sheet, top = read_image(tmp_path / "sheet.png"), 50 + 26 + 24
    assert (sheet[top : top + 250, 14:254] == np.rint(picture.transpose(1, 2, 0) * 255)).all()
    expected = colormaps["inferno"](np.clip(values, 0, 1), bytes=True)[..., :3]
    assert (sheet[top : top + 250, 268:508] == expected).all()
    assert (sheet[top : top + 250, 522:762] == 255 * (values > 1)[..., None]).all()
    bar = sheet[top + 254 : top + 264, 268:508]
    assert (bar == colormaps["inferno"](np.linspace(0, 1, 240, dtype=np.float32), bytes=True)[None, :, :3]).all()


def test_the_sheet_shrinks_enlarges_and_stops(tmp_path: Path) -> None:
    def row(height: int, width: int) -> Row:
        values = np.zeros((height, width), np.float32)
        values[: height // 2] = 1
        return Row("", [Panel("a", values, (0, 1), "places")])

    top = 50 + 24
    draw_sheet(tmp_path / "small.png", "", [row(100, 60)])
    small = read_image(tmp_path / "small.png")[top : top + 300, 14:194]  # three times as large
    assert (small[:150] == 255).all()
    assert (small[150:] == 0).all()
    draw_sheet(tmp_path / "large.png", "", [row(960, 1200)])
    large = read_image(tmp_path / "large.png")[top : top + 384, 14:494]  # 0.4 times
    assert (large[:192] == 255).all()
    assert (large[192:] == 0).all()
    draw_sheet(tmp_path / "many.png", "", [row(240, 240)] * (MOST_ROWS + 3))
    draw_sheet(tmp_path / "most.png", "", [row(240, 240)] * MOST_ROWS)
    many, most = read_image(tmp_path / "many.png"), read_image(tmp_path / "most.png")
    assert many.shape == most.shape
    assert (many != most).any()  # the line that says so


def test_names_that_are_no_tex_and_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sr, gt = noise(tmp_path / "a$b$_^{日.png", 0), noise(tmp_path / "$\\frac.png", 1)
    code, document = call(capsys, "ldl", sr, gt, "--averaged", noise(tmp_path / "x\ny.png", 2), "-o", tmp_path / "o $1")
    assert (code, document["inputs"]["SR"]) == (0, str(sr))


def test_a_crop_is_what_training_would_see(tmp_path: Path) -> None:
    paths = [noise(tmp_path / f"{seed}.png", seed, (40, 50)) for seed in range(3)]
    document = draw_ldl(paths[0], paths[1], tmp_path / "out", averaged=paths[2], crop=(8, 10, 20))
    assert document["settings"]["crop"] == [8, 10, 20]
    parts = [to_tensor(read_image(path)[8:28, 10:30]) for path in paths]
    expected = ldl_maps(*parts)
    for name, values in arrays(tmp_path / "out" / "maps.npz").items():
        assert (values == expected[name]).all()
    assert not np.isclose(expected["sigma"], ldl_maps(*(to_tensor(read_image(path)) for path in paths))["sigma"])


def test_kinds_of_pictures_agree(tmp_path: Path) -> None:
    """Grey, 16 bits and alpha: as everywhere in Goldeye, grey is RGB, 257 levels are one, alpha is left out."""
    grey = np.random.default_rng(5).integers(0, 256, (20, 20, 1)).astype(np.uint8).repeat(3, axis=2)
    gt = noise(tmp_path / "gt.png", 6, (20, 20))
    write_image(tmp_path / "rgb.png", grey)
    write_image(tmp_path / "grey.png", grey, grey=True)
    write_image(tmp_path / "deep.tif", grey.astype(np.uint16) * 257)
    write_image(tmp_path / "alpha.png", grey, alpha=grey[..., 0].copy())
    found = []
    for name in ("rgb.png", "grey.png", "deep.tif", "alpha.png"):
        draw_ldl(tmp_path / name, gt, tmp_path / f"out-{name}")
        found.append(arrays(tmp_path / f"out-{name}" / "maps.npz"))
    for other in found[1:]:
        for key, values in other.items():
            np.testing.assert_allclose(values, found[0][key], rtol=1e-5, atol=1e-6)
    # And 16 bits are not rounded to 8.
    write_image(tmp_path / "fine.png", grey.astype(np.uint16) * 257 + np.uint16(100) * (grey < 255))
    draw_ldl(tmp_path / "fine.png", tmp_path / "rgb.png", tmp_path / "fine")
    residual = arrays(tmp_path / "fine" / "maps.npz")["R"]
    np.testing.assert_allclose(residual, 3 * 100 / 65535 * (grey[..., 0] < 255), rtol=1e-3)


def test_equal_pictures_give_black_maps(tmp_path: Path) -> None:
    one = noise(tmp_path / "one.png", 0)
    document = draw_ldl(one, one, tmp_path / "out", averaged=one)
    for name in ("R", "M", "sigma_M", "M_refine", "R1_less_R2"):
        assert document["sets"][0]["maps"][name]["max"] == 0
        assert read_image(tmp_path / "out" / f"{name}.png").max() == 0


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["ldl", "A", "nowhere.png"], "no picture 'nowhere.png'"),
        (["ldl", "A", "WIDE"], "they must have one size"),
        (["ldl", "A", "A", "--averaged", "WIDE"], "they must have one size"),
        (["ldl", "A", "A", "--window", "8"], "an odd side"),
        (["ldl", "A", "A", "--window", "41"], "a window of 41 needs 21 a side"),
        (["ldl", "A", "A", "--residual", "sined"], "Did you mean 'signed'"),
        (["ldl", "A", "A", "--crop", "1,2"], "TOP,LEFT,SIDE"),
        (["ldl", "A", "A", "--crop", "-1,2,5"], "TOP,LEFT,SIDE"),
        (["ldl", "A", "A", "--crop", "10,0,16"], "does not lie in"),
        (["ldl", "A", "A", "--crop", "0,0,0"], "does not lie in"),
        (["ldl", "A", "A", "--crop", "0,0,3"], "too few"),
        (["ldl", "A", "DATASET"], "is a folder, not a picture"),
        (["hggt"], "Name a dataset with --group, or"),
        (["hggt", "DATASET"], "with --group"),
        (["hggt", "--group", "two"], "Name the dataset"),
        (["hggt", "DATASET", "--group", "two", "--negative", "A"], "not both"),
        (["hggt", "DATASET", "--group", "tow"], "has no group 'tow'"),
        (["hggt", "DATASET", "--group", "two", "--min-votes", "4"], "labels from 4 votes or more"),
        (["hggt", "--original", "A"], "a --negative picture"),
        (["hggt", "--original", "A", "--negative", "A", "--no-vote-weighting"], "are for a dataset"),
        (["hggt", "--original", "A", "--negative", "WIDE"], "they must have one size"),
        (["edl", "A", "A"], "is not a readable file of weights"),
        (["edl", "OTHER", "A"], "masks are EDL's"),
        (["edl", "DUAL", "A"], "no mask"),
        (["edl", "EDL", "nowhere.png"], "no picture 'nowhere.png'"),
        (["edl", "EDL", "A", "--device", "tpu"], "device"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_anything_is_written(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    labelled: Path,
    edl: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.safetensors"
    save_weights(other, build_network("rrdb-ps", **SMALL), architecture="rrdb-ps", config=SMALL, scale=4)
    dual = {**SMALL, "branching": "dual"}
    save_weights(tmp_path / "dual.safetensors", build_network("edl", **dual), architecture="edl", config=dual, scale=4)
    names: dict[str, Path] = {"A": noise(tmp_path / "a.png", 0), "WIDE": noise(tmp_path / "wide.png", 0, (24, 21))}
    names |= {"DATASET": labelled, "EDL": edl, "OTHER": other, "DUAL": tmp_path / "dual.safetensors"}
    before = set(tmp_path.iterdir())
    code, document = call(capsys, *(names.get(word, word) for word in argv), "-o", "out")
    assert code == 2
    assert message in document["error"]["message"]
    assert set(tmp_path.iterdir()) == before


def test_too_large_pictures_are_told_to_be_cropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], edl: Path
) -> None:
    one = noise(tmp_path / "one.png", 0, (30, 30))
    monkeypatch.setattr(maps_run, "MOST_PIXELS", 400)
    code, document = call(capsys, "ldl", one, one, "-o", tmp_path / "out")
    assert (code, document["error"]["hint"]) == (2, "Take a part of it with --crop.")
    assert call(capsys, "ldl", one, one, "-o", tmp_path / "out", "--crop", "5,5,20")[0] == 0
    monkeypatch.setattr("goldeye.upscale.memory.free_memory", lambda device: 100_000)
    code, document = call(capsys, "edl", edl, one, "-o", tmp_path / "edl", "--crop", "0,0,20", "--device", "cpu")
    assert (code, document["error"]["hint"]) == (2, "Take a part of it with --crop.")
    assert "GiB of memory" in document["error"]["message"]


def test_values_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str], edl: Path) -> None:
    network = load_model(edl).module
    assert isinstance(network, EDL)
    with torch.no_grad():
        network.conv_last.bias.fill_(float("nan"))  # type: ignore[union-attr]
    save_weights(edl, network, architecture="edl", config=SMALL, scale=4)
    code, document = call(capsys, "edl", edl, noise(tmp_path / "a.png", 0), "-o", tmp_path / "out", "--device", "cpu")
    assert (code, document["error"]["code"]) == (1, "error")
    assert "not finite" in document["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_the_output_is_whole_or_absent_and_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    one, out = noise(tmp_path / "one.png", 0), tmp_path / "out"
    with monkeypatch.context() as broken:
        broken.setattr(maps_run, "draw_sheet", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            draw_ldl(one, one, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "one.png"]
    killed = tmp_path / ".out.unfinished"
    (killed / "negative-01").mkdir(parents=True)
    (killed / "M_refine.png").touch()
    out.mkdir()  # an empty folder will do
    draw_ldl(one, one, out)
    assert not killed.exists()
    assert sorted(path.name for path in out.iterdir()) == [
        "M.png",
        "R.png",
        "maps.json",
        "maps.npz",
        "sheet.png",
        "sigma_M.png",
    ]
    for taken in (out, one):
        with pytest.raises(InvalidInput, match="is in use"):
            draw_ldl(one, one, taken)
    with pytest.raises(InvalidInput, match="must not lie in the dataset"):
        draw_hggt_group(labelled, "two", labelled / "maps")


def test_the_text_says_values_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sr, gt = dotted(tmp_path / "sr.png", {(7, 7): (255, 0, 0)}), dotted(tmp_path / "gt.png", {})
    assert run(["maps", "ldl", str(sr), str(gt), "-o", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "R           0 to 1, mean 0.004444" in text
    assert f"{tmp_path / 'out'}: sheet.png" in text
    assert run(["maps"]) == 0
    assert "edl" in capsys.readouterr().out
