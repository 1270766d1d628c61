"""Weights by name: Goldeye's own, which come with the package (`goldeye/bundled/models.yaml`), and those that others
have released (`known.yaml`), kept in a cache on disk that is filled by name.

A file of others is fetched once, checked against its SHA-256 and used without network from then on. Where no source
gives a hash, the one found is kept beside the file (`NAME.sha256`) and checked at every later use.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import yaml

from goldeye import __version__
from goldeye.batch import bar
from goldeye.errors import InvalidInput
from goldeye.files import sha256, write_text
from goldeye.networks import ARCHITECTURES, resolve_config

SCHEMES = ("https",)
TIMEOUT = 30.0  # seconds without a byte
BUNDLED = Path(str(resources.files("goldeye") / "bundled"))
_CHUNK = 1 << 20
_LARGEST = 1 << 32  # bytes: no network here is nearly that


@dataclass(frozen=True)
class KnownModel:
    """One entry of an index. `architecture` is a name of `ARCHITECTURES` or, for a network not ours, spandrel's.

    Without `url` the file is in the package, with its card beside it.
    """

    name: str
    architecture: str
    scale: int
    licence: str
    source: str
    summary: str
    url: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    size: int | None = None

    @property
    def settings(self) -> dict[str, Any] | None:
        """Every setting of our architecture for this model; None for a network that is not ours."""
        if self.architecture not in ARCHITECTURES:
            return None
        return resolve_config(self.architecture, {"scale": self.scale} | self.config)

    @property
    def bundled(self) -> bool:
        """Whether it comes with the package."""
        return not self.url

    @property
    def file(self) -> str:
        """The file's name, as it was released."""
        return f"{self.name}.safetensors" if self.bundled else urlsplit(self.url).path.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where the file is, or where the cache will keep it."""
        return (BUNDLED if self.bundled else cache_folder() / "models") / self.file

    @property
    def card(self) -> Path | None:
        """The page on what a bundled model was trained on, measured at and may be used for."""
        return BUNDLED / "cards" / f"{self.name}.md" if self.bundled else None

    @property
    def cached(self) -> bool:
        try:
            return self.path.is_file()
        except OSError:  # a folder that may not be read
            return False


@cache
def known_models() -> dict[str, KnownModel]:
    """Both indices by name, the bundled models first."""
    released = Path(str(resources.files("goldeye.networks") / "known.yaml"))
    entries = [
        entry
        for path in (BUNDLED / "models.yaml", released)
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]
    return {entry["name"]: KnownModel(**entry) for entry in entries}


def bundled_enhancers() -> dict[str, str]:
    """The enhancers that come with the package, {short name for candidates: name}."""
    names = [model.name for model in known_models().values() if model.bundled and model.scale == 1]
    return {name.removeprefix("goldeye-enhance-"): name for name in names}


def find_known(name: str) -> KnownModel | None:
    """The entry of that name, or whose file has that name with or without its ending."""
    models = known_models()
    by_file = {word: model for model in models.values() for word in (model.file, model.file.rpartition(".")[0])}
    return models.get(name) or by_file.get(name)


def cache_folder() -> Path:
    """GOLDEYE_CACHE, or `goldeye` in the folder where the system keeps caches."""
    if chosen := os.environ.get("GOLDEYE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "goldeye"


def fetch(model: KnownModel) -> Path:
    """The model's file, bundled or in the cache, fetched when it is not there yet, with its SHA-256 checked.

    Raises InvalidInput when it cannot be fetched (saying which file to place where) or is not the file it should be.
    """
    if model.bundled:
        try:
            whole = sha256(model.path) == model.sha256
        except OSError:
            whole = False
        if not whole:
            raise InvalidInput(
                f"'{model.path}', which comes with Goldeye, is missing or not as it was.", hint="Install Goldeye anew."
            )
        return model.path
    try:
        if not model.cached:
            _download(model, model.path)
        return _checked(model, model.path)
    except OSError as error:
        raise InvalidInput(
            f"{model.name} cannot be kept in the cache ({_reason(error)}): set GOLDEYE_CACHE to a folder that can be "
            f"written, or download {model.url} and place it as '{model.path}'."
        ) from error


def _checked(model: KnownModel, path: Path) -> Path:
    """The file in the cache if its SHA-256 is right. Where none is known it must be a network, and its own is noted."""
    note = path.with_name(f"{path.name}.sha256")
    noted = note.read_text(encoding="utf-8", errors="replace").strip() if note.is_file() else None
    expected = model.sha256 or noted
    found = sha256(path)
    if expected is None:
        _require_network(path)
        write_text(note, f"{found}\n")
    elif found != expected:
        raise InvalidInput(
            f"'{path}' is not the file of {model.name}: its SHA-256 is {found}, not {expected}.",
            hint="Delete it, and it is fetched again.",
        )
    return path


def _require_network(path: Path) -> None:
    """Raises InvalidInput for a file that is none, a page to log in for example."""
    from goldeye.networks.weights import load_model  # which imports this module

    load_model(path)


def _download(model: KnownModel, path: Path) -> None:
    """Fetch the file to a temporary name beside `path`, check it, and rename it; nothing else is ever left behind.

    The temporary name is the process's own, so two processes may fetch the same file: each gets a whole one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder is there")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                found = _copy(model, file)
            except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
                raise InvalidInput(
                    f"{model.name} is not in the cache and cannot be fetched ({_reason(error)}): "
                    f"download {model.url} and place it as '{path}'."
                ) from error
            file.flush()
            os.fsync(file.fileno())
        if model.sha256 not in (None, found):
            raise InvalidInput(
                f"What {model.url} sent was removed, for it is not {model.name}: "
                f"its SHA-256 is {found}, not {model.sha256}.",
                hint=f"A copy from elsewhere may be placed as '{path}'; the same SHA-256 is asked of it.",
            )
        if model.sha256 is None:
            try:
                _require_network(temporary)
            except InvalidInput as error:
                raise InvalidInput(
                    f"What {model.url} sent was removed, for it is not {model.name}: {error.message}",
                    hint=f"A copy from elsewhere may be placed as '{path}'.",
                ) from error
        temporary.chmod(0o644)  # mkstemp's is for its owner alone; a cache may be shared
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(model: KnownModel, file: IO[bytes]) -> str:
    """Write what the address sends to `file` and return its SHA-256. Raises OSError for a transfer cut short."""
    _require_scheme(model.url)
    request = urllib.request.Request(model.url, headers={"User-Agent": f"goldeye/{__version__}"})
    digest, received = hashlib.sha256(), 0
    with _opener().open(request, timeout=TIMEOUT) as response:
        stated = response.headers.get("Content-Length")
        size = int(stated) if stated and stated.isdecimal() and len(stated) < 20 else model.size
        limit = _LARGEST if size is None else min(size, _LARGEST)
        total = max(1, -(-(size or 0) // _CHUNK))
        with bar(f"Fetching {model.name} (MiB)", total) as advance:
            while chunk := response.read(_CHUNK):
                received += len(chunk)
                if received > limit:
                    raise OSError(f"it sends more than {limit} bytes")
                file.write(chunk)
                digest.update(chunk)
                advance(received // _CHUNK - (received - len(chunk)) // _CHUNK)
    if size is not None and received < size:
        raise OSError(f"only {received} of {size} bytes came")
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to a scheme in `SCHEMES`."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _require_scheme(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise OSError(f"'{url}' is no https address")


def _reason(error: Exception) -> str:
    """A few words, one line, for a failed transfer."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {str(error.reason)[:100]}".splitlines()[0]
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLError):
        return f"no secure connection, {reason.reason or reason}"
    if isinstance(reason, TimeoutError):
        return "the server does not answer"
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return text.strip().splitlines()[0][:200] if text.strip() else type(reason).__name__
