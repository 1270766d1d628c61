"""The command line as scripts see it: names, exit statuses, JSON documents, one-sentence errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from goldeye.cli import run
from goldeye.images import image_size, write_image

COMMANDS = {"annotate", "degrade", "demo", "enhance", "evaluate", "export", "labels", "models", "noise-bank", "pairs"}
COMMANDS |= {"benchmark", "doctor", "maps", "mobile", "niqe", "pack"}
COMMANDS |= {"recipes", "select", "study", "testset", "train", "upscale"}


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8, width // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "my photos"
    write_image(folder / "einer.png", picture(1))
    write_image(folder / "tiefer" / "zwei.png", picture(2))
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    from goldeye.networks import build_network, resolve_config
    from goldeye.networks.weights import save_weights

    small = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}
    path = tmp_path / "small.safetensors"
    network = build_network("rrdb-ps", **small)
    save_weights(path, network, architecture="rrdb-ps", config=resolve_config("rrdb-ps", small), scale=4)
    return path


def call(capsys, *argv) -> tuple[int, str, str]:
    code = run([str(word) for word in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def document(capsys, *argv) -> tuple[int, dict]:
    """Exit status and the one JSON document on stdout."""
    code, out, _ = call(capsys, *argv, "--json")
    return code, json.loads(out)


def test_help_lists_the_commands_that_work(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    listed = {line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.strip()}
    assert listed == COMMANDS
    for command in COMMANDS:
        assert call(capsys, command, "--help")[0] == 0
    assert call(capsys)[0] == 0  # without arguments it shows the way
    assert call(capsys, "--version")[1].startswith("goldeye ")


def test_importing_the_command_line_is_light():
    heavy = ("torch", "cv2", "fastapi", "pyvips", "sqlalchemy")
    code = f"import sys, goldeye, goldeye.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_commands_that_run_networks_spin_little_and_respect_the_users_environment():
    code = "import os; from goldeye.runtime import prepare_process as p; p(); print(os.environ.get('GOMP_SPINCOUNT'))"
    for environment, expected in (
        ({}, "1000"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
    ):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == expected


def test_public_names():
    import goldeye

    for name in goldeye.__all__:
        assert getattr(goldeye, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = goldeye.nothing


def test_degrade_upscale_evaluate(capsys, photos, model, tmp_path):
    lr, sr = tmp_path / "lr", tmp_path / "sr"
    code, made = document(capsys, "degrade", photos, "-o", lr, "--preset", "hggt", "--seed", "3")
    assert code == 0
    assert made["schema"] == "goldeye.degrade/1"
    assert [item["input"] for item in made["done"]] == [str(photos / "einer.png"), str(photos / "tiefer" / "zwei.png")]
    assert image_size(lr / "tiefer" / "zwei.png") == (12, 16)
    lines = (lr / "degradations.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["einer.png", "tiefer/zwei.png"]
    assert len(document(capsys, "degrade", photos, "-o", lr, "--preset", "hggt", "--seed", "3")[1]["skipped"]) == 2

    code, upscaled = document(capsys, "upscale", lr, "-o", sr, "-n", model, "--device", "cpu")
    assert code == 0
    assert {"input", "output", "seconds"} == set(upscaled["done"][0])
    assert image_size(sr / "einer.png") == (48, 64)
    code, doubled = document(capsys, "upscale", lr / "einer.png", "-o", tmp_path / "x.png", "-n", model, "-s", "2.5")
    assert code == 0
    assert image_size(Path(doubled["done"][0]["output"])) == (30, 40)

    code, measured = document(capsys, "evaluate", sr, "--gt", photos, "--metrics", "psnr,ssim_y")
    assert code == 0
    assert measured["images"] == 2
    assert set(measured["metrics"]["psnr"]["per_image"]) == {"einer", "tiefer/zwei"}
    assert measured["metrics"]["psnr"]["definition"]["crop_border"] == 4
    code, text, _ = call(capsys, "evaluate", sr, "--gt", photos)
    assert code == 0
    assert "border crop 4" in text


def test_one_bad_picture_is_named_and_the_rest_goes_on(capsys, photos, model, tmp_path):
    (photos / "kaputt.png").write_bytes((photos / "einer.png").read_bytes()[:300])
    code, out, err = call(capsys, "upscale", photos, "-o", tmp_path / "sr", "-n", model)
    assert code == 1
    assert "kaputt.png" in err
    assert "2 done" in out
    assert not (tmp_path / "sr" / "kaputt.png").exists()
    code, made = document(capsys, "degrade", photos, "-o", tmp_path / "lr", "--preset", "bicubic")
    assert code == 1
    assert [Path(item["input"]).name for item in made["failed"]] == ["kaputt.png"]
    assert len(made["done"]) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["degrade", "nowhere", "-o", "OUT", "--preset", "hggt"], "nowhere"),
        (["degrade", "EMPTY", "-o", "OUT", "--preset", "hggt"], "EMPTY"),
        (["degrade", "PHOTOS", "-o", "OUT", "--preset", "hgt"], "Did you mean 'hggt'"),
        (["noise-bank", "nowhere", "-o", "OUT"], "nowhere"),
        (["noise-bank", "EMPTY", "-o", "OUT"], "EMPTY"),
        (["noise-bank", "PHOTOS", "-o", "PHOTOS"], "must not be the folder of the pictures"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--patch", "64"], "no window of 64 x 64 pixels"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--patch", "7"], "8 to 2048 pixels"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--rule", "catti"], "Did you mean 'cati'"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--share", "0"], "share must be above 0"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--min-mean", "50"], "has no min mean"),
        (["noise-bank", "PHOTOS", "-o", "OUT", "--auxiliary", "PHOTOS"], "share pictures"),
        (["pairs", "nowhere", "-o", "OUT"], "nowhere"),
        (["pairs", "PHOTOS", "-o", "PHOTOS"], "holds the input"),
        (["pairs", "PHOTOS", "-o", "OUT", "--clean", "0"], "clean"),
        (["pairs", "PHOTOS", "-o", "OUT", "--noise-bank", "EMPTY"], "no noise bank"),
        (["upscale", "PHOTOS", "-o", "OUT", "-n", "nowhere.pth"], "nowhere.pth"),
        (["upscale", "PHOTOS", "-o", "OUT", "-n", "PHOTOS/einer.png"], "einer.png"),
        (["upscale", "PHOTOS", "-o", "OUT", "-n", "rrdb"], "no weights of its own"),
        (["upscale", "PHOTOS", "-o", "OUT", "-n", "MODEL", "--device", "gpu"], "Unknown device 'gpu'"),
        (["train", "hggt/rrdb-posnegg"], "Did you mean 'hggt/rrdb-posneg'"),
        (["train", "tiny/rrdb-pretrain", "--set", "data.paht=x"], "Did you mean 'data.path'"),
        (["train", "tiny/rrdb-pretrain", "-o", "OUT"], "set data.path"),
        (["train", "tiny/rrdb-pretrain", "--set", "data.path=nowhere", "-o", "OUT"], "nowhere"),
        (["recipes", "show", "tiny/rrdb"], "Unknown recipe"),
        (["enhance", "PHOTOS", "-o", "OUT", "--enhancer", "nowhere"], "run folder 'nowhere'"),
        (["enhance", "PHOTOS", "-o", "OUT", "--enhancer", "MODEL", "--enhancer", "MODEL"], "same name"),
        (["select", "PHOTOS", "-o", "OUT"], "my photos"),
        (["labels", "stats", "PHOTOS"], "not a dataset"),
        (["annotate", "PHOTOS"], "not a dataset"),
        (["annotate", "invite", "PHOTOS", "Anna"], "not a dataset"),
        (["evaluate", "PHOTOS", "--gt", "PHOTOS", "--metrics", "psn"], "Did you mean 'psnr'"),
        (["evaluate", "PHOTOS"], "ground truth or a dataset"),
        (["demo", "-o", "PHOTOS"], "not a demo's folder"),
        (["upscal"], "No such command"),
        (["degrade", "--frobnicate"], "No such option"),
        (["degrade", "PHOTOS", "-o", "OUT", "--preset", "hggt", "--scale", "0"], "scale"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(capsys, photos, model, tmp_path, argv, message):
    (tmp_path / "EMPTY").mkdir()
    places = {
        "PHOTOS": str(photos),
        "MODEL": str(model),
        "OUT": str(tmp_path / "out"),
        "EMPTY": str(tmp_path / "EMPTY"),
    }
    words = [word.replace("PHOTOS", places["PHOTOS"]) if "/" in word else places.get(word, word) for word in argv]
    code, out, err = call(capsys, *words)
    assert code == 2
    assert out == ""
    assert message in err.splitlines()[0] + " "
    assert "Traceback" not in err
    code, found = document(capsys, *words)
    assert code == 2
    assert found["schema"] == f"goldeye.{argv[0]}/1"
    assert message in found["error"]["message"]
    assert set(found["error"]) == {"code", "message", "hint"}


def test_a_dataset_without_votes_says_what_to_do(capsys, tmp_path):
    for slot in ("original", "01"):
        suffix = "" if slot == "original" else "_01"
        write_image(tmp_path / "set" / "images" / "0-1" / slot / f"a{suffix}.png", picture(1))
    code, _, err = call(capsys, "labels", "stats", tmp_path / "set")
    assert code == 2
    assert "no votes" in err
    assert "goldeye annotate" in err


def test_recipes(capsys):
    code, listed = document(capsys, "recipes", "list")
    assert code == 0
    names = {row["name"]: row for row in listed["recipes"]}
    assert "Pos+Neg" in names["hggt/rrdb-posneg"]["table"]
    code, shown, _ = call(capsys, "recipes", "show", "tiny/rrdb-posneg", "--set", "data.batch=1")
    assert code == 0
    assert "batch: 1" in shown
    assert json.loads(call(capsys, "recipes", "schema")[1])["title"] == "TrainConfig"


def test_train_dry_run_train_continue(capsys, photos, tmp_path):
    sets = ["data.crop=16", "data.batch=1", "steps=2", "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}"]
    words = ["train", "tiny/rrdb-pretrain", "-o", tmp_path / "run", "--device", "cpu"]
    words += [word for text in [f"data.path={photos}", *sets] for word in ("--set", text)]
    code, plan = document(capsys, *words, "--dry-run")
    assert code == 0
    assert plan["ok"]
    assert plan["plan"]["items"] == 2
    assert not (tmp_path / "run").exists()
    code, out, _ = call(capsys, *words, "--set", "data.path=nowhere", "--dry-run")
    assert code == 2
    assert "problem: " in out
    code, trained = document(capsys, *words)
    assert code == 0
    assert (trained["step"], trained["started_at"]) == (2, 0)
    assert Path(trained["weights"]).is_file()
    assert "finished already" in call(capsys, *words)[1]
    code, _, err = call(capsys, *words, "--seed", "4")
    assert code == 2
    assert "other settings: seed" in err
    small = tmp_path / "small.png"
    write_image(small, picture(5, 16, 16))
    assert call(capsys, "upscale", small, "-o", tmp_path / "sr", "-n", tmp_path / "run")[0] == 0


def test_annotating_through_the_commands(capsys, tmp_path):
    """invite prints a link once, and a running `goldeye annotate` takes it."""
    import httpx

    for slot in ("original", "01"):
        suffix = "" if slot == "original" else "_01"
        write_image(tmp_path / "set" / "images" / "0-1" / slot / f"a{suffix}.png", picture(len(slot)))
    server = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from goldeye.cli import main; main()",
            "annotate",
            str(tmp_path / "set"),
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=None,
    )
    assert server.stdout is not None
    try:
        first = server.stdout.readline()
        address = first.split(" at ")[1].split()[0]
        code, invited = document(capsys, "annotate", "invite", tmp_path / "set", "Anna", "--base-url", address)
        assert code == 0
        assert call(capsys, "annotate", "invite", tmp_path / "set", "Anna")[0] == 2
        token = invited["link"].split("#token=")[1]
        with httpx.Client(base_url=address, headers={"X-Goldeye": "1"}) as client:
            assert client.post("/api/session", json={"token": token}).json()["name"] == "Anna"
            work = client.post("/api/next", json={}).json()
            answer = {"client_id": "cli-test-1", "assignment": work["assignment"], "position": 0}
            saved = client.post("/api/vote", json=answer | {"label": "Positive", "active_ms": 1200}).json()
            assert saved["complete"]
        code, stats = document(capsys, "labels", "stats", tmp_path / "set")
        assert code == 0
        assert stats["final"]["01"] == {"Positive": 1, "Similar": 0, "Negative": 0}
        assert stats["seconds_per_group"]["mean"] == pytest.approx(1.2)
    finally:
        server.terminate()
        assert server.wait(timeout=15) in (0, 130, 143, -15)


def test_listening_to_the_world_needs_the_public_address(capsys, tmp_path):
    code, _, err = call(capsys, "annotate", tmp_path, "--host", "0.0.0.0")
    assert code == 2
    assert "--base-url" in err
    assert call(capsys, "annotate", tmp_path, "--base-url", "labels")[0] == 2
