"""`goldeye doctor` in whole, poor and broken surroundings, and what `goldeye` alone says."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

from goldeye import doctor
from goldeye.cli import app, run
from goldeye.cli_doctor import FIRST_STEPS
from goldeye.doctor import Need
from goldeye.networks import known

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc" (FIPS 180-2)
NEEDS = [Need("torch", "2.0", ""), Need("rich", "1.0", ""), Need("nothing-of-the-kind", "3.0", "train")]


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = run(list(argv))
    return code, capsys.readouterr().out


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and a folder to work in."""
    monkeypatch.setenv("GOLDEYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("GOLDEYE_NIQE_PARAMS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that needs three libraries, of which one is not here."""
    monkeypatch.setattr(doctor, "package_needs", lambda: NEEDS)


# The first steps ----------------------------------------------------------------------------------------------------


def shown_commands() -> list[list[str]]:
    lines = re.findall(r"^ .*?\bgoldeye (.*?)(?: {2,}.*)?$", FIRST_STEPS, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_goldeye_alone_shows_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys)
    assert code == 0
    assert out == FIRST_STEPS + "\n"
    assert max(map(len, out.splitlines())) <= 110
    assert [words[0] for words in shown_commands()] == [
        *("demo", "upscale"),
        *("train", "enhance", "select", "annotate", "labels", "train", "upscale", "evaluate", "study"),
    ]


@pytest.mark.parametrize("words", shown_commands(), ids=" ".join)
def test_every_command_of_the_first_steps_is_understood(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("goldeye", words, resilient_parsing=False)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(name, rest, parent=context)
    if words[0] == "train":
        from goldeye.config import recipe_names

        assert words[1] in recipe_names()


# Libraries ----------------------------------------------------------------------------------------------------------


def test_what_the_package_needs_is_read_from_its_description(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2.0", "psycopg[binary]>=3.2; extra == 'scale'", 'scipy-stubs; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert doctor.package_needs() == [
        Need("numpy", "2.0", ""),
        Need("psycopg", "3.2", "scale"),
        Need("scipy-stubs", "0", "dev"),
    ]


def test_the_parts_are_those_of_the_package() -> None:
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(doctor.PARTS) == set(extras) - {"all", "dev", "docs"}


@pytest.mark.parametrize(
    ("need", "version", "problem"),
    [
        (Need("rich", "13.9", ""), "13.10.1", None),  # by numbers, not by letters
        (Need("rich", "13.9", ""), "13.8.2", "version 13.8.2 is older than 13.9"),
        (Need("rich", "2.14.1", ""), "2.14.1+cpu", None),
        (Need("rich", "3", "train"), "3.0rc1", None),
    ],
)
def test_versions_are_compared(monkeypatch: pytest.MonkeyPatch, need: Need, version: str, problem: str | None) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    found = doctor.library_state(need)
    assert (found["version"], found["problem"]) == (version, problem)


def test_a_library_may_come_from_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    need = Need("pillow", "4", "train")  # imported as PIL
    assert doctor.library_state(need)["problem"] is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.library_state(need)["problem"] == "not installed"


def test_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", "torch==2.9.0"])
    monkeypatch.setattr(metadata, "version", lambda name: {"torch": "2.14.1+cpu", "torchvision": "0.24"}[name])
    problem = doctor.library_state(Need("torchvision", "0.20", ""))["problem"]
    assert problem == "it is made for torch 2.9.0, and torch 2.14.1+cpu is here"
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch (==2.14.1)"])
    assert doctor.library_state(Need("torchvision", "0.20", ""))["problem"] is None


# The command --------------------------------------------------------------------------------------------------------


def test_a_whole_installation(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == "goldeye.doctor/1"
    assert found["ok"] is True
    assert found["problems"] == []
    assert found["versions"]["torch"] == metadata.version("torch")
    assert {"torch", "pyvips", "pydantic"} <= {row["name"] for row in found["libraries"]}
    assert found["formats"]["png"] is True
    cpu = found["devices"][0]
    assert cpu["name"] == "cpu"
    assert cpu["precisions"]["fp32"] == {"runs": True, "speed": 1.0, "problem": None}
    assert cpu["precisions"]["fp16"]["runs"] is False
    assert cpu["auto"] in ("fp32", "bf16")
    vgg19 = found["weights"][0]
    assert (vgg19["file"], vgg19["state"]) == ("vgg19-dcbb9e9d.pth", "missing")
    assert len(vgg19["sha256"]) == 64
    assert found["models"]["cached"] == []
    assert all(row["writable"] for row in found["folders"])
    assert not list(Path().iterdir())  # looked at, not made

    code, out = call(capsys, "doctor")
    assert code == 0
    assert out.splitlines()[-1] == found["next"]
    assert f"SHA-256 {vgg19['sha256']}" in out
    assert vgg19["path"] in out


def test_a_base_installation_is_no_problem(capsys: pytest.CaptureFixture[str], needs: None) -> None:
    code, out = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert [(part["extra"], part["present"]) for part in found["optional"]] == [("train", False)]
    assert found["optional"][0]["libraries"][0]["problem"] == "not installed"
    code, out = call(capsys, "doctor")
    assert "missing  train     training, degradation, selection: pip install 'goldeye[train]'" in out
    assert "not installed: nothing-of-the-kind" in out


def test_a_library_that_is_too_old_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "package_needs", lambda: [Need("pytest", "99", "report")])
    code, out = call(capsys, "doctor")
    assert code == 0
    version = metadata.version("pytest")
    assert "missing  report    previews, benchmark pages, charts: pip install 'goldeye[report]'" in out
    assert f"  pytest: version {version} is older than 99\n" in out


def test_without_the_demo_the_next_step_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "package_needs", lambda: [Need("nothing-of-the-kind", "3.0", "demo")])
    assert "pip install 'goldeye[all]'" in doctor.examine()["next"]


@pytest.mark.parametrize(
    "error", [ImportError("libcudart.so.13: cannot open"), OSError("[WinError 126] c10.dll\nmore"), AttributeError()]
)
def test_a_broken_library_is_named_and_the_rest_still_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, needs: None, error: Exception
) -> None:
    genuine = importlib.import_module

    def broken(name: str, package: str | None = None) -> Any:
        if name == "torch":
            raise error
        return genuine(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    code, out = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["ok"] is False
    reason = str(error).splitlines()[0] if str(error) else "AttributeError"
    assert found["problems"] == [f"torch: cannot be imported: {reason}."]
    assert found["devices"][0]["precisions"] == {}
    assert "force-reinstall" in found["next"]
    code, out = call(capsys, "doctor")
    assert code == 1
    assert f"BROKEN   torch: cannot be imported: {reason}" in out
    assert "ok       rich" in out


def test_a_cpu_that_computes_wrongly_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, needs: None
) -> None:
    from torch.nn import functional

    monkeypatch.setattr(functional, "conv2d", lambda x, weight: torch.zeros(1, 64, 62, 62))
    code, out = call(capsys, "doctor", "--json")
    assert code == 1
    assert json.loads(out)["problems"] == ["torch cannot compute on the CPU: a convolution gives 0.0, not 144.0"]


def test_pictures_that_libvips_cannot_write(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, needs: None
) -> None:
    import pyvips

    genuine = pyvips.Image.write_to_buffer

    def lacks_jpeg(self: Any, ending: str) -> Any:
        if ending == ".jpg":
            raise pyvips.Error("no saver")
        return genuine(self, ending)

    monkeypatch.setattr(pyvips.Image, "write_to_buffer", lacks_jpeg)
    code, out = call(capsys, "doctor", "--json")
    assert code == 1
    assert json.loads(out)["problems"] == ["libvips cannot read and write jpg pictures."]


def test_sources_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    found = doctor.examine()
    assert found["ok"] is True
    assert found["notes"] == [
        "Goldeye runs from its sources without being installed, so that what it needs is not known here."
    ]


# Devices ------------------------------------------------------------------------------------------------------------


def test_a_cuda_device_is_listed(monkeypatch: pytest.MonkeyPatch, needs: None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = SimpleNamespace(name="A Card", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    monkeypatch.setattr("goldeye.upscale.memory.free_memory", lambda device: 79 << 30)
    monkeypatch.setattr("goldeye.upscale.precision.choose_precision", lambda name, device: "bf16")
    times = {"fp32": 0.04, "bf16": 0.01, "fp16": 0.25}
    monkeypatch.setattr(doctor, "convolve", lambda device, precision: times[precision])
    card_row = doctor.examine()["devices"][1]
    precisions = card_row.pop("precisions")
    assert card_row == {
        "name": "cuda:0",
        "description": "A Card",
        "memory_gib": 80.0,
        "free_gib": 79.0,
        "auto": "bf16",
    }
    assert [precisions[name]["speed"] for name in ("fp32", "bf16", "fp16")] == [1.0, 4.0, 0.16]


def test_a_precision_that_fails_on_a_device_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def convolve(device: str, precision: str) -> float:
        if precision == "bf16":
            raise RuntimeError("no kernel image is available\nCUDA kernel errors might be …")
        return 0.01

    monkeypatch.setattr(doctor, "convolve", convolve)
    found = doctor.device_precisions("cpu")["precisions"]
    assert found["bf16"] == {"runs": False, "speed": None, "problem": "no kernel image is available"}


def test_a_driver_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch, needs: None) -> None:
    def is_available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old.", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert "The NVIDIA driver on your system is too old" in doctor.examine()["notes"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert any("finds no device" in note for note in doctor.examine()["notes"])


# Files and folders --------------------------------------------------------------------------------------------------


def test_file_states(places: Path) -> None:
    file = places / "weights.pth"
    assert doctor.file_state(file, ABC) == "missing"
    assert doctor.file_state(None, ABC) == "missing"
    file.write_bytes(b"abc")
    assert doctor.file_state(file, ABC) == "right"
    assert doctor.file_state(file, None) == "present"
    file.write_bytes(b"abd")
    assert doctor.file_state(file, ABC) == "wrong"


def test_wrong_weights_are_told_and_no_failure(capsys: pytest.CaptureFixture[str], places: Path, needs: None) -> None:
    vgg19 = places / "torch" / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    vgg19.parent.mkdir(parents=True)
    vgg19.write_bytes(b"half a file")
    code, out = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["weights"][0]["path"], found["weights"][0]["state"]) == (str(vgg19), "wrong")
    assert found["next"].startswith(f"Delete '{vgg19}'")


def test_a_damaged_bundled_model_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Path, needs: None
) -> None:
    found = doctor.examine()
    assert [model["state"] for model in found["models"]["bundled"]] == ["right"] * 7
    for path in known.BUNDLED.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "goldeye-x4.safetensors").write_bytes(b"half a file")
    monkeypatch.setattr(known, "BUNDLED", tmp_path)
    found = doctor.examine()
    assert not found["ok"]
    assert found["problems"] == [f"'{tmp_path / 'goldeye-x4.safetensors'}', which comes with Goldeye, is wrong."]
    assert found["next"].startswith("Repair the installation")


def test_a_known_model_in_the_cache_is_checked(places: Path, needs: None) -> None:
    file = places / "cache" / "models" / "RealESRGAN_x4plus.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    found = doctor.examine()
    assert found["models"]["cached"] == [{"name": "RealESRGAN_x4plus", "path": str(file), "state": "wrong"}]
    assert str(file) in found["next"]


def test_niqe_parameters_are_found_where_the_variable_says(
    places: Path, needs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.examine()["niqe"]["state"] == "missing"
    import numpy as np

    file = places / "mine.npz"
    np.savez(file, mu_pris_param=np.zeros(36), cov_pris_param=np.eye(36), source="my photos")
    monkeypatch.setenv("GOLDEYE_NIQE_PARAMS", str(file))
    assert doctor.examine()["niqe"] == {"state": "here", "file": "mine.npz", "source": "my photos", "get": None}


def test_a_folder_that_cannot_be_made_is_told(
    capsys: pytest.CaptureFixture[str], places: Path, needs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places / "file").write_text("no folder")
    monkeypatch.setenv("GOLDEYE_CACHE", str(places / "file" / "cache"))
    code, out = call(capsys, "doctor")
    assert code == 0
    assert f"{places / 'file' / 'cache' / 'models'}: CANNOT BE WRITTEN" in out
    assert out.splitlines()[-1].startswith("Let yourself write into")


def test_looking_is_light_until_it_is_asked_for() -> None:
    code = "import sys, goldeye.doctor, goldeye.cli_doctor; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
