"""Engines: the same results everywhere, bounded and lazy work, errors as themselves, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from goldeye.curate import engines
from goldeye.curate.engines import Engine, LocalEngine, RayEngine, choose_engine, worker_number
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.files import atomic_path

ENGINES = [
    pytest.param(LocalEngine(1), id="one"),
    pytest.param(LocalEngine(2), id="two"),
    pytest.param(RayEngine(2), id="ray", marks=pytest.mark.slow),
]


def square(value: int) -> int:
    return value**2


def process(_: int) -> tuple[int, int]:
    time.sleep(0.05)  # long enough that every worker gets some
    return os.getpid(), worker_number()


def fail(value: int) -> int:
    if value == 2:
        raise InvalidInput(f"{value} cannot be used.", hint="Use another.")
    return value


class OddError(Exception):
    """Cannot be unpickled: its constructor wants two values, and it keeps one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


def fail_oddly(value: int) -> int:
    raise OddError("odd", "error")


def lose_connection(value: int) -> int:
    raise ConnectionResetError("the peer is gone")


def warn(value: int) -> int:
    warnings.warn(f"about {value}", stacklevel=1)
    return value


def die(value: int) -> int:
    if value == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def begin(marker: Path) -> None:
    marker.touch()


def surroundings(_: int) -> tuple[bool, dict[str, str], int, int]:
    """Whether torch came before the settings of threads; those; what torch and OpenCV make of them."""
    early = "torch" in sys.modules
    import cv2
    import torch

    names = ("OMP_NUM_THREADS", "VIPS_CONCURRENCY")
    return early, {name: os.environ[name] for name in names}, torch.get_num_threads(), cv2.getNumThreads()


def large(_: int) -> bytes:
    return bytes(16_000_000)


def hold(target: Path) -> None:
    """Write a file for a minute, and say so."""
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        (target.parent / f"{target.stem}.pid").write_text(str(os.getpid()))
        time.sleep(60)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_result_comes_once_with_its_index(engine: Engine) -> None:
    assert sorted(engine.map(square, range(7))) == [(index, index**2) for index in range(7)]
    assert list(engine.map(square, [])) == []


def test_two_jobs_are_two_processes_with_numbers() -> None:
    seen = {result for _, result in LocalEngine(2).map(process, range(12))}
    assert len({pid for pid, _ in seen}) == 2
    assert {number for _, number in seen} == {0, 1}
    assert os.getpid() not in {pid for pid, _ in seen}
    assert {result for _, result in LocalEngine(1).map(process, range(2))} == {(os.getpid(), 0)}


def test_one_job_works_lazily_and_in_order(tmp_path: Path) -> None:
    markers = [tmp_path / str(number) for number in range(5)]
    results = LocalEngine(1).map(begin, markers)
    assert not any(marker.exists() for marker in markers)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    assert [marker.exists() for marker in markers] == [True, True, False, False, False]


def test_two_jobs_begin_at_most_four_items_ahead(tmp_path: Path) -> None:
    markers = [tmp_path / str(number) for number in range(40)]
    results = LocalEngine(2).map(begin, markers)
    next(results)
    time.sleep(0.3)  # enough for all forty, were they begun
    assert sum(marker.exists() for marker in markers) <= 4
    for _ in range(5):
        next(results)
    time.sleep(0.3)
    assert 6 <= sum(marker.exists() for marker in markers) <= 9
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert sum(marker.exists() for marker in markers) <= 9


@pytest.mark.parametrize("engine", ENGINES)
def test_errors_arrive_as_themselves(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match=r"2 cannot be used\.") as caught:
        list(engine.map(fail, range(5)))
    assert caught.value.hint == "Use another."
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_errors_that_cannot_travel_are_told(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="OddError: odd"):
        list(engine.map(fail_oddly, range(2)))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_the_work_is_no_loss_of_a_process(engine: Engine) -> None:
    with pytest.raises(ConnectionResetError, match="the peer is gone"):
        list(engine.map(lose_connection, range(2)))


@pytest.mark.parametrize("engine", ENGINES)
def test_warnings_arrive(engine: Engine) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(engine.map(warn, range(3)))
    assert sorted(str(warning.message) for warning in caught) == ["about 0", "about 1", "about 2"]


def test_a_dead_worker_is_one_clear_error() -> None:
    with pytest.raises(GoldeyeError, match="A worker process died") as caught:
        list(LocalEngine(2).map(die, range(20)))
    assert "--jobs" in (caught.value.hint or "")
    assert not multiprocessing.active_children()


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    [(_, (early, settings, torch_threads, cv2_threads))] = LocalEngine(2).map(surroundings, [0])
    share = min(2, len(os.sched_getaffinity(0)))  # one item, so one worker
    assert not early
    assert settings == {"OMP_NUM_THREADS": str(share), "VIPS_CONCURRENCY": str(share)}
    assert (torch_threads, cv2_threads) == (share, share)


def test_engines_are_chosen_by_name() -> None:
    assert choose_engine() == LocalEngine(1)
    assert choose_engine("local", jobs=3) == LocalEngine(3)
    assert choose_engine("ray", jobs=3, address="auto", gpu=True) == RayEngine(3, "auto", True)
    with pytest.raises(InvalidInput, match=r"Unknown engine 'rey'\. Did you mean 'ray'"):
        choose_engine("rey")
    with pytest.raises(InvalidInput, match="is for --engine ray"):
        choose_engine("local", address="auto")
    with pytest.raises(InvalidInput, match="At least one job"):
        choose_engine(jobs=0)


PROGRAM = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in a shell's background it is ignored
sys.path.insert(0, {tests!r})
from test_engines import hold
from goldeye.curate.engines import LocalEngine, RayEngine
for _ in {engine}(2).map(hold, [Path({folder!r}) / f"{{number}}.txt" for number in range(9)]):
    pass
"""


@pytest.mark.parametrize(
    ("engine", "number", "stdin"),
    [
        ("LocalEngine", signal.SIGINT, False),
        ("LocalEngine", signal.SIGTERM, False),
        ("LocalEngine", signal.SIGKILL, False),
        ("LocalEngine", signal.SIGKILL, True),
        pytest.param("RayEngine", signal.SIGINT, False, marks=pytest.mark.slow),
        pytest.param("RayEngine", signal.SIGKILL, True, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_when_the_parent_ends(
    tmp_path: Path, folder_of_ray: Path, engine: str, number: signal.Signals, stdin: bool
) -> None:
    """The program has no `if __name__ == "__main__"`, and comes as a file or on stdin."""
    text = PROGRAM.format(engine=engine, tests=str(Path(__file__).parent), folder=str(tmp_path / "out"))
    (tmp_path / "program.py").write_text(text)
    command = [sys.executable, "-"] if stdin else [sys.executable, str(tmp_path / "program.py")]
    with (tmp_path / "program.py").open() as program, (tmp_path / "stderr").open("wb") as stderr:
        parent = subprocess.Popen(command, stdin=program if stdin else None, stderr=stderr, start_new_session=True)
    pids = wait_for_workers(tmp_path / "out", 2, tmp_path / "stderr")
    pids += [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
    assert len(list((tmp_path / "out").glob(".*.tmp.txt"))) == 2
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)  # as a terminal does
    else:
        parent.send_signal(number)
    parent.wait(60)
    wait_for_end(pids)
    assert not list((tmp_path / "out").glob(".*"))
    assert not list((tmp_path / "out").glob("*.txt"))
    text = (tmp_path / "stderr").read_text()
    assert text.count("Traceback") == (number == signal.SIGINT)  # the program's own KeyboardInterrupt
    assert "ray" not in text.replace("RayEngine", "").split("Traceback")[0]
    wait_until_empty(folder_of_ray)


@pytest.fixture
def folder_of_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its files; pytest's folders have names too long for its sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


CLOSING = """
import sys
sys.path.insert(0, {tests!r})
from test_engines import large
from goldeye.curate.engines import LocalEngine
for _ in range(3):
    results = LocalEngine(2).map(large, range(50))
    next(results)
    results.close()
"""


def test_a_worker_that_is_sending_a_result_is_no_reason_to_wait_for_ever() -> None:
    program = CLOSING.format(tests=str(Path(__file__).parent))
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


def test_ctrl_c_waits_while_processes_start() -> None:
    """A worker that has not yet begun would answer it with a traceback."""

    def held() -> set[int]:
        return set(signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    with engines._starting():
        assert signal.SIGINT in held()
    assert signal.SIGINT not in held()


def wait_for_workers(folder: Path, count: int, stderr: Path) -> list[int]:
    """The workers' process numbers, once so many have written theirs."""
    for _ in range(2400):  # Ray starts slowly where the machine has other work
        written = [path.read_text() for path in folder.glob("*.pid")]
        if len(written) == count and all(written):
            return [int(text) for text in written]
        time.sleep(0.05)
    raise AssertionError(stderr.read_text())


def wait_for_end(pids: list[int]) -> None:
    for _ in range(600):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError(f"still there: {[pid for pid in pids if alive(pid)]}")


def wait_until_empty(folder: Path) -> None:
    for _ in range(600):
        if not list(folder.iterdir()):
            return
        time.sleep(0.05)
    raise AssertionError(f"still there: {list(folder.rglob('*'))[:20]}")


def alive(pid: int) -> bool:
    try:
        # Where nobody waits for orphans they stay as zombies.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_ray_gives_up_on_what_always_dies(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GoldeyeError, match="Ray gave up"):
        list(RayEngine(2).map(die, range(2)))
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_ray_is_silent_and_ends_what_it_began(capfd: pytest.CaptureFixture[str], folder_of_ray: Path) -> None:
    assert dict(RayEngine(2).map(square, range(20))) == {number: number**2 for number in range(20)}
    assert not list(folder_of_ray.iterdir())
    results = RayEngine(2).map(process, range(100))
    next(results)
    [driver] = multiprocessing.active_children()
    pids = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
    assert len(pids) > 2
    assert list(folder_of_ray.iterdir())
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert not list(folder_of_ray.iterdir())
    wait_for_end(pids)
    assert capfd.readouterr() == ("", "")


WITHOUT_RAY = """
import signal, sys
sys.path.insert(0, {tests!r})
from test_engines import square
from goldeye.curate.engines import RayEngine
before = signal.getsignal(signal.SIGTERM)
print(sorted(RayEngine(2).map(square, range(3))), "ray" in sys.modules, signal.getsignal(signal.SIGTERM) == before)
"""


@pytest.mark.slow
def test_ray_is_never_loaded_here() -> None:
    program = WITHOUT_RAY.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("[(0, 0), (1, 1), (2, 4)] False True\n", "")


def end_driver(marker: Path) -> str:
    """End the process that Ray was started in, where the marker allows; a process of Ray's own would be replaced."""
    if not marker.exists():
        if marker.name == "once":
            marker.touch()
        driver = psutil.Process().parent().parent()  # type: ignore[union-attr]
        assert "multiprocessing" in " ".join(driver.cmdline())  # type: ignore[union-attr]
        driver.kill()  # type: ignore[union-attr]
        time.sleep(60)
    return marker.name


@pytest.mark.slow
def test_ray_is_started_again_for_what_is_left(tmp_path: Path, folder_of_ray: Path) -> None:
    for name in "abcd":
        (tmp_path / name).touch()
    items = [tmp_path / name for name in ("a", "b", "once", "c", "d")]
    results = list(RayEngine(1).map(end_driver, items))
    assert sorted(results) == [(index, item.name) for index, item in enumerate(items)]
    assert not list(folder_of_ray.iterdir())


@pytest.mark.slow
def test_ray_that_always_ends_is_one_clear_error(tmp_path: Path, folder_of_ray: Path) -> None:
    with pytest.raises(GoldeyeError, match=r"^Ray ended unexpectedly \(exit code -9\)\.$") as caught:
        list(RayEngine(1).map(end_driver, [tmp_path / "always"]))
    assert "--engine local" in (caught.value.hint or "")
    assert not multiprocessing.active_children()
    assert not list(folder_of_ray.iterdir())


def end_at_once(connection: Connection, folder: str) -> None:
    os._exit(1)


def end_after_one(connection: Connection, folder: str) -> None:
    """What a driver does, without Ray: the first of the items left."""
    _, items, options = connection.recv()
    index = min(items)
    connection.send((index, pickle.dumps(engines._outcome(pickle.loads(options["work"]), pickle.loads(items[index])))))
    os._exit(1)


def end_halfway(connection: Connection, folder: str) -> None:
    """The length of a message of 100 bytes, and 4 of these."""
    connection.recv()
    os.write(connection.fileno(), b"\0\0\0\x64half")
    os._exit(3)


@pytest.mark.parametrize(("drive", "code"), [(end_at_once, 1), (end_halfway, 3)])
def test_a_driver_that_ends_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, drive: Callable[[Connection, str], None], code: int
) -> None:
    monkeypatch.setattr(engines, "_drive", drive)
    items = ["x" * 1000] * 1000  # more than a pipe holds
    with pytest.raises(GoldeyeError, match=rf"Ray ended unexpectedly \(exit code {code}\)\."):
        list(RayEngine().map(len, items))
    assert not multiprocessing.active_children()


def test_three_drivers_at_most_go_on_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_drive", end_after_one)
    assert list(RayEngine().map(square, range(3))) == [(0, 0), (1, 1), (2, 4)]
    results = RayEngine().map(square, range(4))
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]
    with pytest.raises(GoldeyeError, match="Ray ended unexpectedly"):
        next(results)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "ray://somewhere:1", "127.0.0.1:999999"])
def test_an_address_without_cluster_is_one_sentence(address: str) -> None:
    with pytest.raises(InvalidInput, match="cluster"):
        list(RayEngine(2, address).map(square, range(2)))
