"""Work over many items: the result every batch command reports, and the progress bar it shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from goldeye.runtime import is_main_process

T = TypeVar("T")

_quiet = False


@dataclass
class BatchResult:
    """What happened to each item; every entry is a JSON object (paths as given)."""

    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)


def set_quiet(quiet: bool) -> None:
    """Switch progress bars off for this process (`-q`)."""
    global _quiet
    _quiet = quiet


def shows_progress() -> bool:
    """Bars go to stderr, and only where a person can see them."""
    return not _quiet and sys.stderr.isatty() and is_main_process()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar and ETA on stderr (nothing when stderr is no terminal or `-q` is given)."""
    if not shows_progress():
        yield from items
        return
    with bar(description, total if total is not None else len(items)) as advance:  # type: ignore[arg-type]
        for item in items:
            yield item
            advance(1, "")


class _Advance:
    """Moves a bar on by `count` and shows `note` behind it; does nothing without a terminal."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def __call__(self, count: int = 1, note: str = "") -> None:
        if self._progress is not None:
            self._progress.update(self._task, advance=count, note=note)


@contextmanager
def bar(description: str, total: int, done: int = 0, *, percent: bool = False) -> Iterator[_Advance]:
    """A progress bar to move by hand; `done` items were finished before (the ETA counts only the rest).

    `percent` shows a percentage, for what is no number of items.
    """
    if not shows_progress():
        yield _Advance(None, None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn() if percent else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")
        yield _Advance(progress, task)
