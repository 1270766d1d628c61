"""The fenced `sh` and `python` blocks of README and docs, run page by page on tiny pictures with tiny settings."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import docs_pages
from goldeye.cli import run
from goldeye.images import matlab_resize_scale, read_image, to_float, to_uint8, write_image
from stored_votes import store_votes

pytestmark = pytest.mark.slow

NETWORK = "a known model is fetched from the network"
SHELL = "sets up an environment or another checkout"
DOCKER = "needs Docker"
# What cannot run here: the beginning of a command or of a Python block, and why.
NOT_RUN: dict[str, dict[str, str]] = {
    "README.md": {"make ": SHELL, "goldeye upscale holiday.jpg -o large2 -n RealESRGAN_x4plus": NETWORK},
    "CONTRIBUTING.md": {"git clone": SHELL, "make ": SHELL},
    "docs/index.md": {"pip install": SHELL, "goldeye upscale holiday.jpg -o large2 -n RealESRGAN_x4plus": NETWORK},
    "docs/developing.md": {"make ": SHELL, "goldeye ": "run by test_a_network_a_method_a_metric_and_a_recipe"},
    "docs/upscaling.md": {"goldeye upscale photos 'scans/*.tif'": NETWORK},
    "docs/enhancing.md": {"goldeye enhance /shared/photos": "needs a Ray cluster"},
    "docs/evaluating.md": {"goldeye evaluate sr --gt test-photos --metrics psnr_y,ssim_y,niqe,lpips": NETWORK},
    "docs/annotating.md": {
        "export PGPASSWORD": "needs PostgreSQL",
        "goldeye annotate dataset --database": "needs PostgreSQL",
        "goldeye labels stats dataset --database": "needs PostgreSQL",
    },
    "docs/deploying.md": {"docker ": DOCKER, "cd deploy": DOCKER, "cp example.env": DOCKER, "git pull": DOCKER},
}

# Appended to a command, so that it takes a second where a reader's takes a minute.
TINY_TRAINING = "--set steps=2 --set data.batch=2 --set checkpoint_every=1 --set log_every=1"
TINY = {
    "train": TINY_TRAINING,
    "select": "--patch-size 64 --min-std 0 --min-high-frequency 0 --min-difference 0 --duplicate-distance -1",
    "labels agreement": "--bootstrap 20",
    "study results": "--bootstrap 20",
}
PEOPLE = ("Ina", "Jo", "Kim")


# --- material ---------------------------------------------------------------------------------------------------------


def photo(seed: int, height: int = 128, width: int = 192) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Blocks of colour with texture, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 16, width // 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def photos(*folders: str, count: int = 6) -> None:
    """The same pictures in every folder; each folder's have noise of its own."""
    for number, folder in enumerate(folders):
        for seed in range(count):
            rng = np.random.default_rng(100 * number + seed)
            noisy = photo(seed) + rng.normal(0, 6 * number, photo(seed).shape)
            write_image(Path(folder) / f"picture{seed}.png", np.clip(noisy, 0, 255).astype(np.uint8))


def smaller(source: str, target: str) -> None:
    """The pictures of a folder at a quarter of the size, under the same names."""
    for path in sorted(Path(source).iterdir()):
        write_image(Path(target) / path.name, to_uint8(matlab_resize_scale(to_float(read_image(path)), 1 / 4)))


def goldeye(line: str) -> None:
    """Run a command line of Goldeye in this process; it must succeed."""
    words = shlex.split(line, comments=True)[1:]
    extra = next((more for start, more in TINY.items() if " ".join(words).startswith(start)), "")
    assert run([*words, *shlex.split(extra)]) == 0, line


def trained(name: str, recipe: str = "tiny/rrdb-pretrain") -> None:
    """A run of two steps in runs/NAME."""
    photos("training-photos", count=2)
    goldeye(f"goldeye train {recipe} --set data.path=training-photos -o runs/{name}")


def dataset() -> None:
    """Patch groups of six photos with two candidates each, some of them in the split `test`."""
    photos("material", "better", "worse")
    goldeye("goldeye enhance material -o material-candidates --folder a=better --folder b=worse")
    goldeye("goldeye select material-candidates -o dataset --test-fraction 0.3")


def votes() -> None:
    """Three people label every group: the first candidate is better, the others are worse."""
    from goldeye.dataset.groups import Dataset

    labels = {
        group.id: {slot: "Positive" if slot == "01" else "Negative" for slot in group.candidates}
        for group in Dataset.open("dataset").groups
    }
    store_votes(Path("dataset/annotations.sqlite"), dict.fromkeys(PEOPLE, labels))


def labelled() -> None:
    dataset()
    votes()


def exported() -> None:
    """A model in the forms that docs/models.md opens."""
    trained("model")
    goldeye("goldeye export runs/model -o model.onnx")
    goldeye("goldeye export runs/model -o model.safetensors")
    write_image(Path("photo.png"), photo(0, 48, 64))


def exchanged() -> None:
    labelled()
    for form, output in (("csv", "votes.csv"), ("parquet", "votes.parquet"), ("huggingface", "OUT")):
        goldeye(f"goldeye labels export dataset -o {output} --format {form}")


def to_annotate() -> None:
    from goldeye.dataset.groups import Dataset

    dataset()
    photos("originals", "results-a", "results-b", count=2)
    for file, group in zip(("gold.csv", "first.csv"), Dataset.open("dataset").groups, strict=False):
        rows = [f"{group.id},{slot},Positive" for slot in group.candidates]
        Path(file).write_text("\n".join(["group,candidate,label", *rows]), encoding="utf-8")


def to_evaluate() -> None:
    from goldeye.dataset.groups import Dataset

    photos("test-photos", "sr", "sr-before", "photos", count=3)
    smaller("test-photos", "lr")
    write_image(Path("gt/a.png"), photo(7))
    write_image(Path("sr/a.png"), photo(8))
    labelled()
    for group in Dataset.open("dataset", "test").groups:
        shutil.copy(group.original, Path("sr") / f"{group.id}.png")
    for seed in range(8):
        write_image(Path("sharp") / f"{seed}.png", photo(seed, 192, 384))
    goldeye("goldeye niqe fit sharp -o own.npz")


def to_benchmark() -> None:
    for name in ("esrgan", "ldl"):
        trained(name)
    photos("hr", count=2)
    smaller("hr", "lr")
    config = "models: [{name: bicubic, bicubic: true}, {name: GAN, model: runs/esrgan}]\nmetrics: [psnr_y]\n"
    Path("bench.yaml").write_text(f"{config}sets: [{{name: Set14, hr: hr, lr: lr}}]\n", encoding="utf-8")


def to_study() -> None:
    photos("gt", "results/rrdb", "results/hggt", count=3)
    smaller("gt", "lr")
    labelled()


def to_read() -> None:
    """What README's reader has."""
    photos("photos", count=6)
    photos("test-photos", count=2)
    write_image(Path("holiday.jpg"), photo(9, 48, 64))


def to_start() -> None:
    write_image(Path("holiday.jpg"), photo(9, 48, 64))
    photos("originals", "results-a", "results-b", count=2)


def enhancers() -> None:
    trained("enhance-rcan-noise", "tiny/enhance-rcan-noise")
    trained("enhance-elan-blur", "tiny/enhance-elan-blur")
    photos("photos", count=2)


def to_upscale() -> None:
    trained("posneg")
    write_image(Path("holiday.jpg"), photo(9, 48, 64))


def to_replay() -> None:
    photos("photos", count=2)
    goldeye("goldeye degrade photos -o lr --preset hggt")


def to_ask() -> None:
    photos("sr", count=2)
    smaller("sr", "lr")


PREPARE: dict[str, Callable[[], None]] = {
    "README.md": to_read,
    "docs/annotating.md": to_annotate,
    "docs/benchmarks.md": to_benchmark,
    "docs/degradation.md": to_replay,
    "docs/enhancing.md": enhancers,
    "docs/evaluating.md": to_evaluate,
    "docs/faq.md": to_ask,
    "docs/index.md": to_start,
    "docs/label-files.md": exchanged,
    "docs/labels.md": labelled,
    "docs/models.md": exported,
    "docs/upscaling.md": to_upscale,
    "docs/user-study.md": to_study,
}


def opinions() -> None:
    """Each person judges all pairs of the study and prefers the first method."""
    from goldeye.annotate.assign import Assigner
    from goldeye.study.run import annotation_settings, open_study

    with open_study(Path("study"), None) as (study, store):
        assigner = Assigner(store, study.groups(), annotation_settings(study), task=study.task)
        for person in store.people():
            while (work := assigner.claim(person.id)[0]) is not None:
                best = min(range(len(work.order)), key=lambda place: work.order[place])
                assigner.answer(person.id, work.id, best, "Preferred", client_id=str(work.id), active_ms=2000)


# What people and time do between two commands of a page.
BEFORE: dict[str, dict[str, Callable[[], None]]] = {
    "README.md": {
        "goldeye labels stats": votes,
        "goldeye study results": opinions,
    },
    "docs/user-study.md": {"goldeye study results": opinions},
}


# --- running ----------------------------------------------------------------------------------------------------------


def runnable(page: Path) -> list[docs_pages.Block]:
    blocks = docs_pages.split(page)[0]
    return [block for block in blocks if block.language in ("sh", "python") and block.title is None]


def pieces(block: docs_pages.Block) -> list[str]:
    """The commands of a block; a block of Python is one piece."""
    return docs_pages.shell_lines(block.text) if block.language == "sh" else [block.text]


def is_server(words: list[str]) -> bool:
    from goldeye.cli_annotate import annotate_app

    known = [command.name for command in annotate_app.registered_commands]
    return words[:2] == ["study", "serve"] or (words[:1] == ["annotate"] and words[1] not in known)


def serve_once(words: list[str]) -> None:
    """Start a server, see that it serves, and stop it as a person does."""
    command = [sys.executable, "-m", "goldeye", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving "), words
        time.sleep(1)  # nobody is faster
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130, words


def run_piece(page: str, piece: str, language: str, namespace: dict[str, Any]) -> None:
    for start, act in BEFORE.get(page, {}).items():
        if piece.startswith(start):
            act()
    if language == "python":
        exec(compile(piece, page, "exec"), namespace)
        return
    words = shlex.split(piece, comments=True)
    assert words[0] == "goldeye", f"{page}: what runs '{piece}'? Say in NOT_RUN why not."
    if is_server(words[1:]):
        serve_once(words[1:])
    else:
        goldeye(piece)


@pytest.mark.parametrize("page", [page for page in docs_pages.pages() if runnable(page)], ids=docs_pages.name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("GOLDEYE_NIQE_PARAMS", "own.npz")  # as docs/evaluating.md says
    name = docs_pages.name(page)
    left = dict(NOT_RUN.get(name, {}))
    todo = []
    for block in runnable(page):
        for piece in pieces(block):
            reasons = [start for start in NOT_RUN.get(name, {}) if piece.startswith(start)]
            for start in reasons:
                left.pop(start, None)
            if not reasons:
                todo.append((piece, block.language))
    assert not left, f"{name} has no such lines any more: {list(left)}"
    if not todo:
        return
    PREPARE[name]()
    namespace: dict[str, Any] = libraries() if name == "docs/label-files.md" else {}
    for piece, language in todo:
        run_piece(name, piece, language, namespace)


def libraries() -> dict[str, Any]:
    """What docs/label-files.md takes for imported."""
    return {name: importlib.import_module(name) for name in ("datasets", "pandas")}


# --- the worked example of docs/developing.md -------------------------------------------------------------------------


def apply(file: Path, diff: str) -> None:
    """Change a file by a diff without line numbers, hunks apart by an empty line; a line's `…` is whatever follows."""
    text = file.read_text(encoding="utf-8")
    for hunk in diff.split("\n\n"):
        lines = hunk.strip("\n").split("\n")
        before = "".join(re.escape(line[1:]).replace("…", "(.*)") + "\n" for line in lines if line[:1] != "+")
        after = "".join(line[1:] + "\n" for line in lines if line[:1] != "-")
        places = list(re.finditer(f"^{before}", text, re.MULTILINE))
        assert len(places) == 1, f"{file} has {len(places)} places like\n{hunk}"
        after = after.replace("…", places[0][1]) if "…" in hunk else after
        text = text[: places[0].start()] + after + text[places[0].end() :]
    file.write_text(text, encoding="utf-8")


def test_a_network_a_method_a_metric_and_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = docs_pages.ROOT / "docs" / "developing.md"
    shutil.copytree(docs_pages.ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for block in docs_pages.split(page)[0]:
        if block.title is not None and block.language == "diff":
            apply(tmp_path / block.title, block.text)
        elif block.title is not None:
            assert not (tmp_path / block.title).exists(), f"{block.title} exists in the package"
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    photos("photos", count=2)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    lines = [line for block in runnable(page) for line in pieces(block) if line.startswith("goldeye ")]
    told = ""
    for line in lines:
        words = shlex.split(f"{line} {TINY_TRAINING}" if line.startswith("goldeye train") else line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "goldeye", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        told += done.stdout
    assert "Plain" in (tmp_path / "src/goldeye/networks/__init__.py").read_text(encoding="utf-8")
    assert re.search(r"MAE.*levels of 255", told)
