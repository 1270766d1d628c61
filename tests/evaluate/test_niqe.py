"""NIQE: BasicSR's figures, the fit of distributions against one written out plainly, parameters of every origin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_pictures import blurred, flat, noisy, textured
from scipy.io import savemat
from scipy.ndimage import convolve
from scipy.special import gamma

from goldeye.cli import run
from goldeye.errors import InvalidInput
from goldeye.evaluate import niqe as module
from goldeye.evaluate.metrics import make_metric
from goldeye.evaluate.niqe import NiqeParameters, block_features, fit_folder, load_parameters, niqe
from goldeye.evaluate.planes import gaussian_taps
from goldeye.evaluate.run import evaluate_folder
from goldeye.images import matlab_resize, read_image, write_image

TAPS = gaussian_taps(7, 7 / 6)
FROZEN = Path(__file__).resolve().parents[1] / "frozen" / "niqe.json"


def plain_parameters() -> NiqeParameters:
    return NiqeParameters(np.linspace(0.1, 2, 36), np.diag(np.linspace(0.05, 0.4, 36)), TAPS, {"source": "by hand"})


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "pristine.npz"
    module.write_parameters(path, plain_parameters())
    return path


def plain_fit(values: Any) -> tuple[float, float, float]:
    """Shape and both scales of a block, searched on the whole grid as official code does."""
    shapes = np.arange(0.2, 10.0005, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left, right = (np.sqrt(np.mean(values[part] ** 2)) for part in (values < 0, values > 0))
    ratio = left / right
    observed = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    observed *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - observed) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def plain_features(plane: Any) -> Any:
    """The 18 features of each 96x96 block at the first scale."""
    window = np.outer(TAPS, TAPS)
    mean = convolve(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - mean**2))
    normalised = (plane - mean) / (deviation + 1)
    rows = []
    for top in range(0, plane.shape[0], 96):
        for left in range(0, plane.shape[1], 96):
            block = normalised[top : top + 96, left : left + 96]
            shape, below, above = plain_fit(block)
            features = [shape, (below + above) / 2]
            for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, below, above = plain_fit(block * np.roll(block, shift, axis=(0, 1)))
                features += [shape, (above - below) * gamma(2 / shape) / gamma(1 / shape), below, above]
            rows.append(features)
    return np.array(rows)


def test_golden_figures(golden: Path) -> None:
    tolerance = next(
        entry["tolerance"]["abs"]
        for entry in json.loads((golden / "index.json").read_text())["files"]
        if entry["file"] == "metrics/niqe.json"
    )
    published = golden / "metrics" / "niqe_pris_params.npz"
    metric = {border: make_metric("niqe", crop_border=border, niqe_params=published) for border in (0, 4)}
    assert metric[0].definition["parameters"]["source"].startswith("the published model")
    assert metric[0].definition["window"].startswith("Gaussian 7x7, sigma 7/6;")
    entries = json.loads((golden / "metrics" / "niqe.json").read_text())
    assert len(entries) == 8
    for entry in entries:
        found = metric[entry["crop_border"]](read_image(golden / "metrics" / entry["image"]))
        assert found == pytest.approx(entry["niqe"], abs=tolerance / 10)
        assert found == pytest.approx(entry["niqe_float64_internals"], abs=tolerance / 10)


def test_frozen_figures() -> None:
    """Numbers of a state that agreed with the golden figures."""
    frozen = json.loads(FROZEN.read_text())
    picture = textured(11, 210, 310)
    assert niqe(picture, plain_parameters(), crop_border=4) == pytest.approx(frozen["niqe/4"], abs=1e-6)
    plane = np.rint(module.luma(picture)[:192, :288])
    assert block_features(plane, TAPS)[0].mean(axis=0).tolist() == pytest.approx(frozen["features"], abs=1e-6)


def test_features_are_those_of_the_plain_way() -> None:
    plane = np.rint(module.luma(textured(5, 192, 288)))
    found, sharpness = block_features(plane, TAPS)
    assert found.shape == (6, 36)
    assert sharpness.shape == (6,)
    np.testing.assert_allclose(found[:, :18], plain_features(plane), rtol=1e-9, atol=1e-12)


def test_halving_is_matlabs() -> None:
    plane = textured(6, 96, 192)[..., 0].astype(np.float64)
    expected = matlab_resize(np.repeat(plane[..., None], 3, axis=2).astype(np.float32), 48, 96)[..., 0]
    np.testing.assert_allclose(module._halve(plane), expected, atol=1e-4)


def test_degradations_raise_it() -> None:
    pristine = textured(0, 288, 384, blur=0.8)
    features, _ = block_features(np.rint(module.luma(pristine)), TAPS)
    own = NiqeParameters(features.mean(axis=0), np.cov(features, rowvar=False), TAPS, {"source": "itself"})
    assert niqe(pristine, own, crop_border=0) == pytest.approx(0, abs=1e-6)
    for worse in (lambda amount: blurred(pristine, amount), lambda amount: noisy(pristine, 20 * amount)):
        figures = [niqe(worse(amount), own, crop_border=0) for amount in (0.6, 1.2, 2.4)]
        assert figures == sorted(figures)


def test_what_lies_outside_the_blocks_does_not_count() -> None:
    picture = textured(1, 200, 310)
    other = picture.copy()
    other[192:], other[:, 288:] = 0, 255
    assert niqe(picture, plain_parameters(), crop_border=0) == niqe(other, plain_parameters(), crop_border=0)


def test_kinds_of_pictures_mean_the_same() -> None:
    picture = textured(2, 192, 192)
    deep, unit = picture.astype(np.uint16) * 257, (picture / 255).astype(np.float32)
    figures = [niqe(each, plain_parameters(), crop_border=0) for each in (picture, deep, unit)]
    assert figures == pytest.approx([figures[0]] * 3, abs=1e-3)


def test_pictures_without_a_figure_are_told_why() -> None:
    parameters = plain_parameters()
    with pytest.raises(InvalidInput, match="two blocks of 96x96 pixels; the cropped picture has 191x100"):
        niqe(flat(0, 100, 191), parameters, crop_border=0)
    with pytest.raises(InvalidInput, match="two blocks of 96x96 pixels; the cropped picture has 92x192"):
        niqe(flat(0, 200, 100), parameters, crop_border=4)
    with pytest.raises(InvalidInput, match="not flat; this has 0"):
        niqe(flat(77, 200, 200), parameters, crop_border=0)
    beside = textured(3, 96, 288)
    beside[:, 90:] = 200
    with pytest.raises(InvalidInput, match="not flat; this has 1"):
        niqe(beside, parameters, crop_border=0)


def test_flat_parts_do_not_hinge_on_rounding() -> None:
    """A sky of one value: in exact arithmetic its normalised values are 0, whatever the value is."""
    picture = textured(4, 192, 288)
    figures = []
    for value in (3, 77, 250):
        sky = picture.copy()
        sky[:60] = value  # its edge lies inside the blocks
        features, _ = block_features(np.rint(module.luma(sky)), TAPS)
        figures.append(features[0, :18])
        assert np.isfinite(features).all()
    # Left to rounding, the product's shape would differ by 0.012 between these.
    assert np.ptp([each[2] for each in figures]) < 0.005


# Parameters ------------------------------------------------------------------------------------------------------


def test_parameters_of_every_origin(tmp_path: Path, parameters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_parameters(parameters)
    assert found.source == {
        "file": "pristine.npz",
        "sha256": hashlib.sha256(parameters.read_bytes()).hexdigest(),
        "source": "by hand",
    }
    np.testing.assert_allclose(found.mean, plain_parameters().mean)
    np.testing.assert_allclose(found.taps, TAPS, atol=1e-15)
    official = {"mu_prisparam": found.mean[None], "cov_prisparam": found.covariance}
    savemat(tmp_path / "modelparameters.mat", official)
    mat = load_parameters(tmp_path / "modelparameters.mat")
    assert mat.source["source"] == "a file of unknown origin"
    picture = textured(7, 192, 192)
    assert niqe(picture, mat, crop_border=0) == pytest.approx(niqe(picture, found, crop_border=0), abs=1e-9)
    monkeypatch.setenv(module.VARIABLE, str(parameters))
    assert load_parameters().source == found.source
    package = tmp_path / "site" / "basicsr"
    (package / "metrics").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not imported')")
    (package / "metrics" / "niqe_pris_params.npz").write_bytes(parameters.read_bytes())
    monkeypatch.delenv(module.VARIABLE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert load_parameters().source["file"] == "niqe_pris_params.npz"


def test_the_definition_tells_a_window_that_is_not_the_published_one(tmp_path: Path, parameters: Path) -> None:
    content = dict(np.load(parameters))
    windows = {"gaussian": np.outer(TAPS, TAPS), "uniform": np.full((7, 7), 1 / 49)}
    made = {}
    for name, window in windows.items():
        np.savez(tmp_path / f"{name}.npz", **content | {"gaussian_window": window})
        made[name] = make_metric("niqe", crop_border=0, niqe_params=tmp_path / f"{name}.npz")
    assert made["gaussian"].definition["window"].startswith("Gaussian 7x7, sigma 7/6; 96x96 blocks")
    assert made["uniform"].definition["window"].startswith("7x7 window of the parameter file, not the Gaussian; 96x96")
    picture = textured(7, 192, 192)
    assert made["gaussian"](picture) != pytest.approx(made["uniform"](picture), abs=0.01)


def test_unusable_parameters_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    with pytest.raises(InvalidInput, match="NIQE needs pristine parameters, and there are none here") as caught:
        make_metric("niqe", crop_border=4)
    assert "goldeye niqe fit" in str(caught.value.hint)
    with pytest.raises(InvalidInput, match=r"no file '.*lost.npz'"):
        load_parameters(tmp_path / "lost.npz")
    good = {"mu_pris_param": np.zeros(36), "cov_pris_param": np.eye(36)}
    broken = {
        "other": {"a": np.zeros(3)},
        "short": good | {"mu_pris_param": np.zeros(18)},
        "nan": good | {"cov_pris_param": np.full((36, 36), np.nan)},
        "window": good | {"gaussian_window": np.eye(7)},
    }
    messages = {"other": "holds no NIQE parameters", "window": "not a separable window"}
    for name, content in broken.items():
        np.savez(tmp_path / f"{name}.npz", **content)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=messages.get(name, "36 means and a covariance of 36x36")):
            load_parameters(tmp_path / f"{name}.npz")
    for name in ("text.npz", "text.mat", "empty.npz", "empty.mat"):
        (tmp_path / name).write_bytes(b"" if "empty" in name else b"no parameters at all, only text" * 20)
        with pytest.raises(InvalidInput, match=r"neither an \.npz nor a \.mat"):
            load_parameters(tmp_path / name)


def test_fitting_keeps_the_sharp_blocks(tmp_path: Path) -> None:
    for seed in range(5):
        picture = textured(seed, 300, 400)
        picture[:, 192:] = blurred(picture, 4)[:, 192:]  # columns 0 and 1 of 4 stay sharp: 6 blocks a picture
        write_image(tmp_path / "photos" / f"{seed}.png", picture)
    with pytest.raises(InvalidInput, match="give 30 sharp blocks of 96x96 pixels; 37 are the least"):
        fit_folder(tmp_path / "photos", tmp_path / "own.npz")
    write_image(tmp_path / "photos" / "more.png", textured(8, 300, 400))
    write_image(tmp_path / "photos" / "small.png", flat(0))
    made = fit_folder(tmp_path / "photos", tmp_path / "own.npz")
    assert (made["pictures"], made["blocks"]) == (6, 42)
    assert [entry["name"] for entry in made["excluded"]] == [str(tmp_path / "photos" / "small.png")]
    again = fit_folder(tmp_path / "photos", tmp_path / "again.npz")
    assert made["sha256"] == again["sha256"]
    own = load_parameters(tmp_path / "own.npz")
    assert own.source["source"] == "fitted by goldeye niqe fit on 42 sharp blocks of 6 pictures"
    assert niqe(textured(9, 288, 288), own, crop_border=0) < niqe(blurred(textured(9, 288, 288), 3), own, crop_border=0)
    with pytest.raises(InvalidInput, match=r"written as \.npz"):
        fit_folder(tmp_path / "photos", tmp_path / "own.mat")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write_image(tmp_path / "photos" / f"{seed}.png", textured(seed, 400, 400))
    arguments = ["niqe", "fit", str(tmp_path / "photos"), "-o", str(tmp_path / "own.npz")]
    assert run([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "goldeye.niqe/1"
    assert made["blocks"] == 48
    assert run(arguments) == 0
    assert "48 sharp blocks of 3 pictures (sha256" in capsys.readouterr().out
    write_image(tmp_path / "photos" / "small.png", flat(0))
    assert run(arguments) == 1
    assert run(["niqe"]) == 0
    assert "fit" in capsys.readouterr().out
    assert run(["niqe", "fit", str(tmp_path / "none"), "-o", str(tmp_path / "own.npz")]) == 2


def test_a_folder_with_pictures_that_have_no_figure(tmp_path: Path, parameters: Path) -> None:
    for name, picture in {"a": textured(0), "flat": flat(9, 200, 200), "small": flat(9)}.items():
        write_image(tmp_path / "sr" / f"{name}.png", picture)
    result = evaluate_folder(tmp_path / "sr", metrics=["niqe", "noise"], niqe_params=parameters)
    figures = result["metrics"]["niqe"]
    assert result["images"] == 3
    assert figures["per_image"]["flat"] is None
    assert figures["mean"] == figures["per_image"]["a"]
    assert figures["reasons"].keys() == {"flat", "small"}
    assert figures["definition"]["parameters"]["source"] == "by hand"
    assert result["metrics"]["noise"]["per_image"]["small"] == pytest.approx(0, abs=1e-9)
    assert result["excluded"] == []
