"""Where work over many items runs: in this process, in several of this machine, or on a Ray cluster.

All engines give the same results. Work is a function of one item that can be pickled: a module-level function, or a
frozen dataclass with `__call__`. What is dear to load (a network) it caches itself, once a process. It writes its files
itself; on a cluster they lie on storage that every node sees under the same path.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

from goldeye.errors import GoldeyeError, Interrupted, InvalidInput, unknown_name
from goldeye.runtime import available_cores, prepare_process

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 10  # seconds in which a worker told to stop leaves the call into a library it is in
_RETRIES = 3  # of an item whose process Ray lost; Ray Data's default is for ever
_RESTARTS = 2  # of the process that Ray runs in, once it is lost
# How many threads libraries start, each read when its library is loaded: OpenMP (torch), MKL, OpenBLAS (numpy), libvips
# and OpenCV.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VIPS_CONCURRENCY", "OPENCV_FOR_THREADS_NUM")


class Engine(Protocol):
    """Where work runs; `jobs` is how many items are worked on at once."""

    @property
    def jobs(self) -> int: ...

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (index of the item, work's result) as they are finished, in any order.

        Work begins with the first result asked for. An exception of `work` is raised here; then, and when the iterator
        is closed, what was begun is stopped and the rest dropped. Raises GoldeyeError when a worker process dies.
        """
        ...


def choose_engine(name: str = "local", *, jobs: int = 1, address: str | None = None, gpu: bool = False) -> Engine:
    """`local` or `ray`; InvalidInput for what cannot be meant.

    `address` is that of a Ray cluster (`auto`: the one this machine belongs to); without it Ray runs on this machine
    alone. `gpu`: the work needs a GPU, so Ray gives each of its workers one.
    """
    if jobs < 1:
        raise InvalidInput(f"At least one job is needed, not {jobs}.")
    if name == "local":
        if address is not None:
            raise InvalidInput("An address is for --engine ray.")
        return LocalEngine(jobs)
    if name == "ray":
        return RayEngine(jobs, address, gpu)
    raise unknown_name("engine", name, ("local", "ray"))


# Processes of this machine -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalEngine:
    """One job: in this process, in the items' order. More: in processes of their own, at most 2·jobs items in flight.

    They are spawned, since libvips, OpenCV and OpenMP do not survive a fork, share the cores between them, and end with
    this process, however that ends.
    """

    jobs: int = 1

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`."""
        if self.jobs == 1:
            for index, item in enumerate(items):
                yield index, work(item)
        elif items:
            yield from self._spread(work, items)

    def _spread(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        context = get_context("spawn")
        # Nothing is ever sent: workers see its end when this process closes it, or is gone.
        lifeline, ours = context.Pipe(duplex=False)
        numbers = context.Value("i", 0)
        workers = min(self.jobs, len(items))
        pool = ProcessPoolExecutor(
            workers, context, _begin, (lifeline, numbers, _share(workers), pickle.dumps(work), list(sys.path))
        )
        waiting = iter(range(len(items)))
        running: dict[Future[_Outcome], int] = {}
        try:
            while True:
                for index in itertools.islice(waiting, 2 * workers - len(running)):
                    with _starting():  # the pool starts its processes when it is given work
                        running[pool.submit(_run, items[index])] = index
                if not running:
                    pool.shutdown()
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result().value()
        except BrokenProcessPool:
            raise GoldeyeError(
                "A worker process died; most often the system ended it because memory ran out.",
                hint="Run it again with fewer --jobs: what was finished is kept.",
            ) from None
        finally:
            ours.close()
            lifeline.close()
            pool.shutdown(cancel_futures=True)


def _share(workers: int) -> int:
    """The threads that each of so many workers may use."""
    cores = available_cores()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(given) if given.isdecimal() and int(given) else cores) // workers)


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """While processes start: hide the program from `spawn`, and hold Ctrl-C back.

    `spawn` would run the program in each worker, where nothing of it is needed: a script without
    `if __name__ == "__main__"` would start itself again, and one read from stdin cannot be found. A worker inherits
    that Ctrl-C is held back; else it would print a traceback until `_begin` sees to it.
    """
    main = vars(sys.modules["__main__"])
    names = [name for name in ("__file__", "__spec__") if name in main]
    kept: dict[str, Any] = {name: main[name] for name in names}
    main.update(dict.fromkeys(names))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        main.update(kept)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


# In a worker: its work, its number, whether it works just now, and whether it was told to stop.
_work: Callable[[Any], Any]
_number = 0
_working = False
_stopping = False


def worker_number() -> int:
    """Which of the engine's worker processes this is, from 0; 0 in any other process."""
    return _number


def _begin(lifeline: Connection, numbers: Any, threads: int, work: bytes, path: Sequence[str]) -> None:
    """Prepare a worker, before any large library is loaded."""
    global _work, _number
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent decides
    signal.signal(signal.SIGTERM, _stop)
    with numbers:
        _number = numbers.value
        numbers.value += 1
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    _prepare_worker(threads, path)
    _work = pickle.loads(work)


def _prepare_worker(threads: int, path: Sequence[str]) -> None:
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    sys.path += [entry for entry in path if entry not in sys.path]
    prepare_process()


def _watch(lifeline: Connection) -> None:
    """End this worker when its parent is gone or has closed the lifeline."""
    with contextlib.suppress(OSError):
        lifeline.poll(None)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while _working and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1)  # for a result that is on its way; without a parent, a worker that has none waits for ever
    os._exit(1)


def _stop(number: int, frame: object) -> None:
    global _stopping
    _stopping = True
    if _working:
        raise Interrupted("Stopped.", number)  # unwinds, so that no temporary file stays; then `_run` ends the process
    # Else it may be sending a result: for the rest of half of one the parent would wait for ever.


def _run(item: Any) -> _Outcome:
    global _working
    try:
        _working = True
        if _stopping:
            os._exit(128 + signal.SIGTERM)
        return _outcome(_work, item)
    except Interrupted:
        os._exit(128 + signal.SIGTERM)
    finally:
        _working = False
        if _stopping:
            os._exit(128 + signal.SIGTERM)


# What travels back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    """What work gave or raised, and the warnings it made."""

    result: Any = None
    error: Exception | None = None
    warnings: tuple[tuple[str, type[Warning]], ...] = ()

    def value(self) -> Any:
        for text, category in self.warnings:
            warnings.warn(text, category, stacklevel=3)
        if self.error is not None:
            raise self.error
        return self.result


def _outcome(work: Callable[[T], Any], item: T) -> _Outcome:
    with warnings.catch_warnings(record=True) as caught:
        try:
            result, error = work(item), None
        except Exception as raised:  # whatever it is, it is raised where the results are waited for
            result, error = None, _portable(raised)
    return _Outcome(result, error, tuple((str(warning.message), warning.category) for warning in caught))


def _portable(error: Exception) -> Exception:
    """The exception itself where it can be sent, with the worker's traceback as a note (seen with --debug)."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own constructor may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


# Ray -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RayEngine:
    """Ray Data: `jobs` items at once on the cluster at `address`, or on this machine alone.

    A cluster gives each job one core, and with `gpu` a whole GPU. An item whose process dies is tried again by Ray.
    Ray's core may end the process that it is loaded in, so it has one of its own, the driver. Where that is lost,
    another one goes on with what is left, twice at most.
    """

    jobs: int = 1
    address: str | None = None
    gpu: bool = False

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`. Also raises GoldeyeError when the driver is lost once more than it is started again."""
        if self.address is not None:
            _check_address(self.address)
        left = {index: pickle.dumps(item) for index, item in enumerate(items)}
        threads = _share(self.jobs) if self.address is None else 1
        options = {"work": pickle.dumps(work), "threads": threads, "path": None if self.address else list(sys.path)}
        lost = 0
        while left:
            with _driver() as (process, connection):
                for index, outcome in _received(connection, (self, left, options)):
                    left.pop(index, None)
                    yield index, pickle.loads(outcome).value()
                    if not left:
                        break
            if left and (lost := lost + 1) > _RESTARTS:
                raise GoldeyeError(
                    f"Ray ended unexpectedly (exit code {process.exitcode}).",
                    hint="What was finished is kept: run it again, or with --engine local.",
                )

    def outcomes(self, items: dict[int, bytes], options: dict[str, Any], folder: str) -> Generator[tuple[int, bytes]]:
        """What `map` makes of its pickled items, each pickled again; runs in the driver."""
        rows = [{"index": index, "item": item} for index, item in items.items()]
        threads = options["threads"]
        with _ray(self.address, self.jobs * threads, folder) as ray:
            warnings.simplefilter("ignore")  # Ray calls max_retries deprecated, and names nothing in its place
            # A block an item: results arrive one by one.
            dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _on_ray,
                fn_kwargs=options,
                compute=ray.data.TaskPoolStrategy(size=self.jobs),
                num_cpus=threads,
                num_gpus=int(self.gpu),
                max_retries=_RETRIES,
            )
            dataset.context.enable_progress_bars = dataset.context.print_on_execution_start = False
            with contextlib.closing(iter(dataset.iter_rows())) as results:
                for row in results:
                    yield row["index"], row["outcome"]


@contextlib.contextmanager
def _driver() -> Iterator[tuple[SpawnProcess, Connection]]:
    """A process for Ray, and the connection to it; at the end of the block both end, with all that Ray started."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    # Paths of sockets have to be short, which those in macOS's own temporary folder are not.
    place = os.environ.get("RAY_TMPDIR") or ("/tmp" if sys.platform == "darwin" else tempfile.gettempdir())
    Path(place).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_drive, args=(theirs, folder), daemon=True)
        try:
            with theirs, _starting():
                process.start()
            yield process, ours
        finally:
            ours.close()
            if process.pid is not None:
                process.join(_GRACE + 5)
                process.kill()
                process.join()
                _end_rest(process.pid)


def _end_rest(group: int) -> None:
    """End what a driver that was lost has left."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _received(connection: Connection, task: tuple[RayEngine, dict[int, bytes], dict[str, Any]]) -> Iterator[Any]:
    """Give the driver its task, and yield what it sends as long as it lives."""
    with contextlib.suppress(EOFError, OSError):
        connection.send(task)
        while True:
            yield connection.recv()


def _drive(connection: Connection, folder: str) -> None:
    """The driver: take a task, and send (index, pickled outcome) until it is done or the other end is closed.

    An error of Ray's goes without an index. Ray keeps its files in `folder`, unless they are those of a cluster.
    """
    global _working
    _working = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # all that Ray starts belongs to this group
    os.set_inheritable(connection.fileno(), False)  # else, the driver gone, one of Ray's processes would keep it open
    os.dup2(2, 1)  # Ray prints what it has to say of workers that died
    status, failure = 1, None
    try:
        engine, items, options = connection.recv()
        threading.Thread(target=_watch, args=(connection,), daemon=True).start()
        with contextlib.closing(engine.outcomes(items, options, folder)) as outcomes:
            for message in outcomes:
                connection.send(message)
        status = 0
    except Exception as error:  # whatever it is, it is raised where the results are waited for
        failure = _Outcome(error=_portable(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        if failure is not None:
            with contextlib.suppress(OSError):
                connection.send((None, pickle.dumps(failure)))
        os._exit(status)  # threads of Ray Data that outlive a failure would hold it


def _on_ray(row: dict[str, Any], work: bytes, threads: int, path: list[str] | None) -> dict[str, Any]:
    """The outcome for one row, pickled; runs in a process of Ray's."""
    _prepare_ray_worker(threads, tuple(path or ()))
    return {"index": row["index"], "outcome": pickle.dumps(_outcome(_unpickled(work), pickle.loads(row["item"])))}


@lru_cache(maxsize=1)
def _prepare_ray_worker(threads: int, path: tuple[str, ...]) -> None:
    _prepare_worker(threads, path)


@lru_cache(maxsize=1)
def _unpickled(work: bytes) -> Any:
    return pickle.loads(work)


@contextlib.contextmanager
def _ray(address: str | None, cores: int, folder: str) -> Iterator[Any]:
    """Ray, connected and quiet; what is started here ends here."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",  # else Ray reports home
        # Else a thread of Ray Data that outlives a failure would start Ray anew, or look for a cluster.
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_process_group_cleanup_enabled": "0",  # else workers leave this process's group
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else, told to stop while it starts, it waits for half a minute
    }
    os.environ.update({name: value for name, value in settings.items() if name not in os.environ})
    import ray
    import ray.data
    from ray.exceptions import RayError

    try:
        _connect(ray, address, cores, folder)
        yield ray
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "What was finished is kept: run it again, with fewer --jobs where memory ran out."
        raise GoldeyeError(f"Ray gave up: {reason}", hint=hint) from error
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)  # Ray tells of every process that ends
        _end_work()
        ray.shutdown()
        for process in _others():  # a worker that was just being started would look for Ray for a minute
            with contextlib.suppress(Exception):
                process.kill()


def _end_work() -> None:
    """Tell work that still runs here to stop, so that it takes its temporary files away; Ray gives it 0.1 s for it."""
    told = set()
    end = time.monotonic() + _GRACE / 2
    while (workers := [process for process in _others() if _works(process)]) and time.monotonic() < end:
        for process in workers:  # Ray may have begun an item again in another process
            if process not in told:
                told.add(process)
                with contextlib.suppress(Exception):
                    process.terminate()
        time.sleep(0.05)


def _works(process: Any) -> bool:
    try:
        return _on_ray.__name__ in "".join(process.cmdline()[:1])  # Ray's processes call themselves what they work on
    except Exception:  # it ended, or is another user's
        return False


def _others() -> list[Any]:
    """The other processes of this one's group."""
    import psutil  # comes with Ray

    found = []
    if hasattr(os, "getpgid"):
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if process.pid != os.getpid() and os.getpgid(process.pid) == os.getpgrp():
                    found.append(process)
    return found


def _connect(ray: Any, address: str | None, cores: int, folder: str) -> None:
    local = {"address": "local", "num_cpus": cores, "_temp_dir": folder}
    where = local if address is None else {"address": address}
    try:
        ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        hint = "A cluster needs the same Ray and Python here, and may need its RAY_AUTH_MODE and token."
        if address is None:
            hint = "Ray keeps its files in the temporary folder; RAY_TMPDIR may name another with a short path."
        raise InvalidInput(f"Ray cannot be used on {address or 'this machine'}: {reason}.", hint=hint) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
    signal.signal(signal.SIGTERM, _stop)  # Ray takes it for itself


def _check_address(address: str) -> None:
    """Refuse at once what Ray would try to reach for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InvalidInput(f"'{address}' is no address of a Ray cluster.", hint="Use HOST:PORT or auto.")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"No Ray cluster answers at '{address}' ({error}).",
            hint="`ray start --head` on its first machine starts one and prints its address.",
        ) from None
