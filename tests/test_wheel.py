"""The wheel: built without network, it holds every file of the package, and works away from the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import goldeye

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src"


def _missing(reason: str) -> None:
    """Skip with a reason; fail where nothing may be missing (two folders have a conftest, so none is imported here)."""
    if os.environ.get("GOLDEYE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        _missing("hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_every_file_of_the_package_is_inside_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"goldeye-{goldeye.__version__}-py3-none-any.whl"
    files = (path for path in (SOURCE / "goldeye").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(SOURCE).as_posix() for path in files}
    kinds = {Path(name).suffix for name in expected}
    assert {".py", ".yaml", ".html", ".js", ".css", ".svg", ".md", ".j2", ".typed", ".safetensors"} <= kinds
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        description = f"goldeye-{goldeye.__version__}.dist-info"
        assert {name for name in names if not name.startswith(description)} == expected
        assert "goldeye = goldeye.cli:main" in archive.read(f"{description}/entry_points.txt").decode()
        assert f"{description}/licenses/LICENSE" in names
        assert f"{description}/licenses/src/goldeye/bundled/WEIGHTS_LICENSE" in names


@pytest.mark.slow
def test_it_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import goldeye; print(goldeye.__file__)").startswith(str(tmp_path / "installed"))
    recipes = json.loads(run("-m", "goldeye", "recipes", "list", "--json"))["recipes"]
    assert len(recipes) == len(list((SOURCE / "goldeye" / "recipes").rglob("*.yaml")))
    assert json.loads(run("-m", "goldeye", "doctor", "--json"))["problems"] == []
    known = json.loads(run("-m", "goldeye", "models", "list", "--json"))["models"]
    assert {row["name"] for row in known if row.get("bundled")} >= {"goldeye-x4", "goldeye-enhance-rcan-noise"}
    demo = (
        "from pathlib import Path; from goldeye.demo import DemoSettings, run_demo; "
        "sr = ('steps=2', 'data.crop=32', 'data.batch=2', 'discriminator.settings={num_feat: 4}'); "
        "run_demo(Path('demo'), settings=DemoSettings(side=160, patch_size=64, per_photo=4, sr_settings=sr, "
        "least_gain_db=0, least_positive_groups=1, least_negative_groups=1))"
    )
    run("-c", demo)
    assert (tmp_path / "demo" / "report.html").is_file()
    pages = "from goldeye.annotate.app import owner_page, page; print('<html' in page(), '<html' in owner_page())"
    assert run("-c", pages) == "True True\n"
