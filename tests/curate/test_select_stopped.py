"""`goldeye select` killed at any moment ends in the same bytes when started again; ten thousand photos in memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from goldeye.curate.candidates import Candidates, Photo
from goldeye.curate.select import SelectSettings, select_patches
from goldeye.dataset.groups import Dataset, Enhancer
from goldeye.images import write_image

ONE_PASS: dict[str, Any] = {"patch_size": 32, "stride": 8, "min_std": 10, "min_high_frequency": 4, "batch_size": 3}
TWO_PASSES: dict[str, Any] = ONE_PASS | {"min_difference": "20%", "keep": 5, "test_fraction": 0.5}

# Selects once for each number: that many files come and go (renamed or removed), then kill -9; once more undisturbed.
# Children are forked before libvips is used: starting Python for each would take a second.
KILLS = """
import json, os, shutil, signal, sys, time
from pathlib import Path
from goldeye.curate import cut, preview, scores, select
import cv2
cv2.setNumThreads(1)
candidates, root = Path(sys.argv[1]), Path(sys.argv[2])
settings, moments = select.SelectSettings(**json.loads(sys.argv[3])), json.loads(sys.argv[4])
if hasattr(os, "sync"):
    del os.sync  # only power failures need it

def start(output, left):
    def counted(function):
        def call(*given, **how):
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*given, **how)
        return call

    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        for name in ("rename", "replace", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))
        shutil.rmtree = counted(shutil.rmtree)
        summary = select.select_patches(candidates, output, settings)
        (output.parent / (output.name + ".json")).write_text(json.dumps(summary | {"dataset": ""}))
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(9)

for moment in moments:
    output = root / str(moment)
    first = start(output, moment)
    print(moment, first, start(output, -1) if first else 0, flush=True)
    if first == 0:
        break
"""


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def make_candidates(root: Path, count: int, side: int, *, distinct: int | None = None) -> Path:
    """Candidates of noise, two versions each, without going through `enhance`; beyond `distinct` they are links."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(count):
        name, model = f"p{number:05d}.png", f"p{number % (distinct or count):05d}.png"
        for folder, strength in (("original", 0), ("soft", 3), ("strong", 12)):
            path = root / folder / name
            if name == model:
                if folder == "original":
                    picture = rng.integers(20, 235, (side, side, 3), np.uint8)
                checker = (np.indices((side, side)).sum(axis=0) % 2)[..., None] * strength
                write_image(path, (picture + checker).astype(np.uint8), durable=False)
            else:
                path.hardlink_to(root / folder / model)
        photos.append(Photo(name=name, source=name, sha256=f"{number:064x}", height=side, width=side))
    enhancers = (Enhancer(name="soft", slot="01"), Enhancer(name="strong", slot="02"))
    record = Candidates(enhancers=enhancers, photos=tuple(photos)).model_dump(mode="json")
    (root / "candidates.yaml").write_text(yaml.dump(record, Dumper=yaml.CSafeDumper, sort_keys=False))
    return root


def killed(tmp_path: Path, values: dict[str, Any], moments: list[int]) -> None:
    """Kill at each moment, start again, compare."""
    candidates = make_candidates(tmp_path / "candidates", 3, 64)
    whole = select_patches(candidates, tmp_path / "whole", SelectSettings(**values)) | {"dataset": ""}
    expected = files(tmp_path / "whole")
    (tmp_path / "out").mkdir()
    arguments = [str(candidates), str(tmp_path / "out"), json.dumps(values), json.dumps(moments)]
    done = subprocess.run([sys.executable, "-c", KILLS, *arguments], capture_output=True, text=True, check=False)
    told = [line.split() for line in done.stdout.splitlines()]
    assert told, done.stderr
    stopped = [moment for moment, first, second in told if (first, second) == ("-9", "0")]
    assert len(stopped) >= len(told) - 1, done.stdout  # all but the one that there were not so many files for
    assert len(stopped) >= 5
    for moment, _, _ in told:
        assert files(tmp_path / "out" / moment) == expected, moment
        assert json.loads((tmp_path / "out" / f"{moment}.json").read_text()) == whole


@pytest.mark.parametrize(("values", "moments"), [(ONE_PASS, range(0, 400, 31)), (TWO_PASSES, range(4, 400, 13))])
def test_killed_and_started_again(tmp_path: Path, values: dict[str, Any], moments: range) -> None:
    killed(tmp_path, values, list(moments))


@pytest.mark.slow
@pytest.mark.parametrize("values", [ONE_PASS, TWO_PASSES])
def test_killed_at_every_moment(tmp_path: Path, values: dict[str, Any]) -> None:
    killed(tmp_path, values, list(range(400)))


def test_other_settings_start_over_and_finished_photos_are_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = make_candidates(tmp_path / "candidates", 3, 64)
    one, other = SelectSettings(**ONE_PASS), SelectSettings(**ONE_PASS | {"seed": 1})
    select_patches(candidates, tmp_path / "one", one)
    select_patches(candidates, tmp_path / "other", other)
    from goldeye.curate import cut

    writes: list[Path] = []
    write = cut.write_image

    def stop(path: Path, *given: Any, **how: Any) -> None:
        if "p00002" in path.name:
            raise KeyboardInterrupt
        writes.append(path)
        write(path, *given, **how)

    with monkeypatch.context() as patch:
        patch.setattr(cut, "write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            select_patches(candidates, tmp_path / "set", one)
        finished = len(writes)
        assert finished > 0
        with pytest.raises(KeyboardInterrupt):
            select_patches(candidates, tmp_path / "set", one)
        assert len(writes) == finished
        with pytest.raises(KeyboardInterrupt):
            select_patches(candidates, tmp_path / "set", other)
        assert len(writes) > finished
    # A patch cut short by a power failure is noticed.
    patch_ = next((tmp_path / "set" / ".incomplete" / "pictures").rglob("*.png"))
    patch_.write_bytes(patch_.read_bytes()[:-1])
    select_patches(candidates, tmp_path / "set", other)
    assert files(tmp_path / "set") == files(tmp_path / "other")


# Prints the most memory of a command. A process counts what its parent had when it was started: this one has little.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


@pytest.mark.slow
def test_ten_thousand_photos_in_little_memory_killed_and_started_again(tmp_path: Path) -> None:
    candidates = make_candidates(tmp_path / "candidates", 10_000, 40, distinct=500)
    options = "-q --patch-size 32 --stride 8 --per-photo 1 --min-std 10 --min-high-frequency 4 --duplicate-distance -1"
    command = [sys.executable, "-m", "goldeye", "select", str(candidates), *options.split()]

    def check_peak(output: Path, *more: str) -> None:
        run = [sys.executable, "-c", PEAK, *command, "-o", str(output), *more]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        # 100 MB are Python with its libraries, 10 KB is what is known of a photo.
        assert int(done.stdout) < 300e6

    one, whole, kept = tmp_path / "one", tmp_path / "whole", tmp_path / "kept"
    process = subprocess.Popen([*command, "-o", str(one)])
    while sum(1 for _ in (one / ".incomplete").rglob("p*.json")) < 4000:
        assert process.poll() is None
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    check_peak(one)
    assert len(Dataset.open(one).groups) == 10_000
    check_peak(whole, "-j", "2")
    assert files(one) == files(whole)
    check_peak(kept, "--keep", "3000", "--min-std", "20%", "-j", "2")
    assert len(Dataset.open(kept).groups) == 3000
