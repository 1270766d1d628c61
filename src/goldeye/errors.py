"""The one error family that Goldeye raises on purpose: one clear sentence, an optional hint, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GoldeyeError(Exception):
    """Something the user can act on. `code` is a stable word for programs, `hint` what to do next."""

    code = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidInput(GoldeyeError):
    """A path, name or setting that cannot be used (exit status 2)."""

    code = "invalid_input"


class ImageError(InvalidInput):
    """A picture that cannot be read, written or used; the message names the file."""

    code = "image"


class Interrupted(BaseException):
    """A signal ended the work after its state was saved (exit status 128 + signal).

    Like KeyboardInterrupt it is no Exception, so that work that goes on after a failed item does not swallow it.
    """

    code = "interrupted"
    hint = None

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.message = message
        self.signal = signal


class RunStopped(GoldeyeError):
    """Work that stopped before its end, with its state saved (exit status 1)."""

    code = "stopped"


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are, for a message."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


_FEW = 20  # names that are listed beside a guess


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InvalidInput:
    """The error for an unknown preset, recipe, key…: names it, and the nearest known name, or the known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    listed = bool(names) and (not near or len(names) <= _FEW)
    return InvalidInput(f"Unknown {kind} '{name}'.{guess}", hint=f"Known: {', '.join(names)}." if listed else None)
