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
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from goldeye.errors import GoldeyeError, Interrupted, InvalidInput, unknown_name
from goldeye.runtime import available_cores, prepare_process

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 10  # seconds in which a worker told to stop leaves the call into a library it is in
_RETRIES = 3  # of an item whose process Ray lost; Ray Data's default is for ever
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
    """

    jobs: int = 1
    address: str | None = None
    gpu: bool = False

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`."""
        if not items:
            return
        rows = [{"index": index, "item": pickle.dumps(item)} for index, item in enumerate(items)]
        threads = _share(self.jobs) if self.address is None else 1
        options = {"work": pickle.dumps(work), "threads": threads, "path": None if self.address else list(sys.path)}
        with _ray(self.address, self.jobs * threads) as ray:
            with warnings.catch_warnings():
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
            # Closed before Ray ends: left to the garbage collector, it would start Ray once more.
            with contextlib.closing(iter(dataset.iter_rows())) as results:
                while (row := _next(results)) is not None:
                    yield row["index"], pickle.loads(row["outcome"]).value()


def _next(results: Iterator[Any]) -> Any:
    """The next row, None at the end."""
    from ray.exceptions import RayError

    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Ray prints what it has to say of workers that died
            return next(results, None)
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "What was finished is kept: run it again, with fewer --jobs where memory ran out."
        raise GoldeyeError(f"Ray gave up: {reason}", hint=hint) from error


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
def _ray(address: str | None, cores: int) -> Iterator[Any]:
    """Ray, connected and quiet; what is started here ends here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports home
    # Else a thread of Ray Data that outlives a failure would start Ray anew, or connect to whatever cluster it finds.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    import ray
    import ray.data

    logger = logging.getLogger("ray.data")
    level = logger.level
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    started = not ray.is_initialized()
    if started:
        where: dict[str, Any] = {"address": "local", "num_cpus": cores}
        if address is not None:
            _check_address(address)
            where = {"address": address}
        try:
            ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise InvalidInput(
                f"Ray cannot be used on {address or 'this machine'}: {reason}.",
                hint="A cluster needs the same Ray and Python here, and may need its RAY_AUTH_MODE and token.",
            ) from error
    try:
        logger.setLevel(logging.CRITICAL + 1)
        _restore(handlers)  # Ray takes SIGTERM for itself
        yield ray
    finally:
        logger.setLevel(level)
        if started:
            with contextlib.redirect_stdout(sys.stderr):
                ray.shutdown()
            _restore(handlers)


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


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
