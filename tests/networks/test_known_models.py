"""The index of known weights and the cache that fetches them, against a server of this test's own."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch

from goldeye.errors import InvalidInput
from goldeye.networks import ARCHITECTURES, build_network, known, resolve_config
from goldeye.networks.describe import describe
from goldeye.networks.known import KnownModel, fetch, find_known, known_models
from goldeye.networks.weights import load_model, save_weights

TINY = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}


# --- the index --------------------------------------------------------------------------------------------------------


def test_the_index_is_whole() -> None:
    models = known_models()
    assert len(models) >= 15
    assert len({model.file for model in models.values()}) == len(models)
    assert len({model.sha256 for model in models.values() if model.sha256}) >= len(models) - 1
    for model in models.values():
        if model.bundled:
            assert model.source == f"Goldeye, recipe bundled/{model.name.removeprefix('goldeye-')}"
        else:
            assert model.url.startswith("https://github.com/"), model.name
            assert model.source.startswith("https://"), model.name
            assert model.size is None or model.size > 1e6, model.name
        assert model.file.endswith((".pth", ".safetensors")), model.name
        assert model.licence, model.name
        assert len(model.summary) > 10, model.name
        assert model.sha256 is None or re.fullmatch("[0-9a-f]{64}", model.sha256), model.name
        assert model.name not in ARCHITECTURES


def test_the_index_fits_our_architectures() -> None:
    """The stated file size is the tensors' and little more: a wrong architecture or setting would show."""

    @functools.cache
    def size(architecture: str, config: str) -> int:
        state = build_network(architecture, **json.loads(config)).state_dict()
        return sum(value.numel() * value.element_size() for value in state.values())

    for model in known_models().values():
        settings = model.settings
        if settings is None:
            assert model.name == "BSRGANx2"
            continue
        assert settings["scale"] == model.scale
        if model.size is not None:
            tensors = size(model.architecture, json.dumps(settings))
            assert tensors < model.size < 1.01 * tensors + 100_000, model.name


def test_the_index_is_in_the_package() -> None:
    assert resources.files("goldeye.networks").joinpath("known.yaml").is_file()


def test_names_and_file_names_find_an_entry() -> None:
    model = find_known("BSRGAN")
    assert model is not None
    assert find_known("SwinIR-L_real_x4_GAN") == find_known("003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN")
    assert find_known("RealESRGAN_x4plus.pth") == find_known("RealESRGAN_x4plus")
    assert find_known("nothing") is None


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLDEYE_CACHE", str(tmp_path))
    assert known.cache_folder() == tmp_path
    monkeypatch.delenv("GOLDEYE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert known.cache_folder() == Path("/caches/goldeye")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert known.cache_folder() == Path.home() / ".cache" / "goldeye"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert known.cache_folder() == Path.home() / "Library" / "Caches" / "goldeye"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert known.cache_folder() == Path("/local/goldeye")


# --- fetching ---------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves `content`; the path says how it misbehaves. `requests` counts what was asked for."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content, path = self.server.content, self.path
        self.server.requests.append(path)
        if path.startswith("/missing/"):
            self.send_error(404)
            return
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.replace("/moved/", "/"))
            self.end_headers()
            return
        if path.startswith("/ftp/"):
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
            return
        self.send_response(200)
        if path.startswith("/odd/"):
            self.send_header("Content-Length", "\N{SUPERSCRIPT TWO}")
        elif not path.startswith("/unsized"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if path.startswith(("/cut/", "/unsized-cut/")):
            content = content[: len(content) // 2]
        if path.startswith("/slow/"):
            self.wfile.write(content[:1000])
            time.sleep(20)
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network("rrdb", **TINY).eval()


@pytest.fixture
def server(network: torch.nn.Module, tmp_path: Path) -> Iterator[Server]:
    torch.save({"params_ema": network.state_dict()}, tmp_path / "served.pth")
    server = Server((tmp_path / "served.pth").read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GOLDEYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known, "SCHEMES", ("https", "http"))
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache" / "models"


def entry(server: Server, path: str = "/", *, hashed: bool = True, **changes: Any) -> KnownModel:
    digest = hashlib.sha256(server.content).hexdigest() if hashed else None
    return replace(
        known_models()["RealESRGAN_x4plus"],
        **{"name": "Test_x4", "url": server.url(f"{path}test_x4.pth"), "sha256": digest, "size": None} | changes,
    )


def use(monkeypatch: pytest.MonkeyPatch, model: KnownModel) -> None:
    monkeypatch.setattr(known, "known_models", lambda: {model.name: model})
    monkeypatch.setattr("goldeye.networks.describe.known_models", lambda: {model.name: model})


@pytest.mark.parametrize("path", ["/", "/moved/", "/unsized/", "/odd/"])
def test_a_model_is_fetched_once_and_then_works_offline(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module, path: str
) -> None:
    use(monkeypatch, entry(server, path))
    assert describe("Test_x4")["cached"] is False
    model = load_model("Test_x4")
    asked = len(server.requests)
    assert model.path == cache / "test_x4.pth"
    assert model.architecture == "rrdb"
    assert [file.name for file in cache.iterdir()] == ["test_x4.pth"]
    if os.name == "posix":
        assert model.path.stat().st_mode & 0o777 == 0o644, "a cache may be shared"
    image = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(model.module(image), network(image))
    use(monkeypatch, entry(server, url="https://nowhere.invalid/test_x4.pth"))
    assert load_model("Test_x4").sha256 == model.sha256
    assert len(server.requests) == asked
    found = describe("Test_x4")
    assert (found["cached"], found["licence"], found["kind"]) == (True, "BSD-3-Clause", "weights")
    assert found["parameters"] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing/", "the server says 404 Not Found"),
        ("/cut/", r"only \d+ of \d+ bytes came"),
        ("/ftp/", "is no https address"),
    ],
)
def test_a_failed_transfer_says_what_to_place_where(server: Server, cache: Path, path: str, reason: str) -> None:
    model = entry(server, path)
    with pytest.raises(InvalidInput, match=reason) as error:
        fetch(model)
    message = error.value.message
    assert model.url in message
    assert str(cache / "test_x4.pth") in message
    assert message.endswith("'.")
    assert message.count(". ") == 0, "one sentence"
    assert list(cache.iterdir()) == []


def test_a_cut_transfer_shows_by_the_size_in_the_index_or_by_the_hash(server: Server, cache: Path) -> None:
    with pytest.raises(InvalidInput, match=r"only \d+ of \d+ bytes came"):
        fetch(entry(server, "/unsized-cut/", hashed=False, size=len(server.content)))
    with pytest.raises(InvalidInput, match="was removed, for it is not Test_x4"):
        fetch(entry(server, "/unsized-cut/"))
    assert list(cache.iterdir()) == []


def test_a_transfer_without_end_is_stopped(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_CHUNK", 1000)
    with pytest.raises(InvalidInput, match="it sends more than 5000 bytes"):
        fetch(entry(server, "/unsized/", size=5000))
    monkeypatch.setattr(known, "_LARGEST", 4000)
    for path in ("/", "/unsized/"):
        with pytest.raises(InvalidInput, match="it sends more than 4000 bytes"):
            fetch(entry(server, path))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "models", "file", "unreadable"])
def test_a_cache_that_cannot_be_used_says_what_to_do(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A file where the folder or its `models` should be, a folder where the file should be, a folder without rights."""
    if place == "folder":
        cache.parent.write_text("")
    elif place == "models":
        cache.parent.mkdir()
        cache.write_text("")
    elif place == "file":
        (cache / "test_x4.pth").mkdir(parents=True)
    else:

        def refuse(**_: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.mkstemp", refuse)
    model = entry(server)
    with pytest.raises(InvalidInput, match=r"^Test_x4 cannot be kept in the cache \(.+\): set GOLDEYE_CACHE") as error:
        fetch(model)
    assert error.value.message.endswith(f"download {model.url} and place it as '{cache / 'test_x4.pth'}'.")
    assert server.requests == []


@pytest.mark.parametrize("placed", [False, True])
def test_a_page_is_not_taken_for_a_model_without_a_published_hash(server: Server, cache: Path, placed: bool) -> None:
    server.content = b"<!DOCTYPE html><html>Log in</html>"
    cache.mkdir(parents=True)
    if placed:
        (cache / "test_x4.pth").write_bytes(server.content)
    with pytest.raises(InvalidInput, match="it is a web page"):
        fetch(entry(server, hashed=False))
    assert [file.name for file in cache.iterdir()] == ["test_x4.pth"] * placed


def test_a_server_that_explains_itself_at_length() -> None:
    assert known._reason(OSError("first\nsecond")) == "first"
    assert known._reason(urllib.error.HTTPError("", 403, "No\nentry", Message(), None)) == "the server says 403 No"


def test_a_file_under_any_name_is_known_by_its_hash(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, entry(server))
    found = describe(str(tmp_path / "served.pth"))
    assert (found["name"], found["licence"], found["cached"]) == ("Test_x4", "BSD-3-Clause", False)
    (tmp_path / "other.pth").write_bytes(server.content + b" ")
    assert describe(str(tmp_path / "other.pth"))["licence"] == "not stated"


def test_without_network_one_sentence(cache: Path, server: Server) -> None:
    with pytest.raises(InvalidInput, match=r"Test_x4 is not in the cache and cannot be fetched .*: download http"):
        fetch(entry(server, url="http://127.0.0.1:9/test_x4.pth"))
    with pytest.raises(InvalidInput, match="cannot be fetched"):
        fetch(entry(server, url="http://nowhere.invalid/test_x4.pth"))
    assert list(cache.iterdir()) == []


def test_only_https_is_fetched(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SCHEMES", ("https",))
    with pytest.raises(InvalidInput, match="is no https address"):
        fetch(entry(server))
    assert server.requests == []


def test_a_wrong_hash_is_refused_and_removed(server: Server, cache: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"was removed, for it is not Test_x4: its SHA-256 is [0-9a-f]{64}, not 0000"
    ):
        fetch(entry(server, sha256="0" * 64))
    assert list(cache.iterdir()) == []


def test_a_placed_file_is_checked_and_stays(server: Server, cache: Path) -> None:
    """Somebody's own copy is never deleted."""
    cache.mkdir(parents=True)
    (cache / "test_x4.pth").write_bytes(b"something else")
    with pytest.raises(InvalidInput, match="is not the file of Test_x4: its SHA-256 is"):
        fetch(entry(server))
    assert (cache / "test_x4.pth").read_bytes() == b"something else"
    (cache / "test_x4.pth").write_bytes(server.content)
    assert fetch(entry(server)) == cache / "test_x4.pth"
    assert server.requests == []


@pytest.mark.parametrize("placed", [False, True])
def test_without_a_published_hash_the_first_one_counts(server: Server, cache: Path, placed: bool) -> None:
    model = entry(server, hashed=False)
    if placed:
        cache.mkdir(parents=True)
        (cache / "test_x4.pth").write_bytes(server.content)
    path = fetch(model)
    note = cache / "test_x4.pth.sha256"
    assert note.read_text() == f"{hashlib.sha256(server.content).hexdigest()}\n"
    assert fetch(model) == path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InvalidInput, match="is not the file of Test_x4"):
        fetch(model)
    path.unlink()
    note.unlink()
    assert fetch(model) == path


def test_an_existing_file_or_run_wins_over_a_name(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, entry(server))
    monkeypatch.chdir(tmp_path)
    config = resolve_config("rrdb", TINY)
    weights = tmp_path / "Test_x4" / "checkpoints" / "step-00000001.safetensors"
    save_weights(weights, build_network("rrdb", **TINY), architecture="rrdb", config=config, scale=4)
    assert load_model("Test_x4").path == cache / "test_x4.pth", "a folder that is no run does not hide the name"
    (weights.parent / "latest").write_text("step-00000001\n")
    assert load_model("Test_x4").path == Path("Test_x4/checkpoints/step-00000001.safetensors")
    assert load_model("Test_x4").metadata


RUN = """
import sys
from goldeye.networks import known
known.SCHEMES = ("http",)
url, digest = sys.argv[1:]
print(known.fetch(known.KnownModel("Test_x4", "rrdb", 4, "", "", "", url, sha256=digest)), flush=True)
"""


def start(model: KnownModel) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, model.url, model.sha256 or ""]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_both_get_it(server: Server, cache: Path) -> None:
    both = [start(entry(server)) for _ in range(2)]
    for process in both:
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert out.strip() == str(cache / "test_x4.pth")
    assert [file.name for file in cache.iterdir()] == ["test_x4.pth"]
    assert (cache / "test_x4.pth").read_bytes() == server.content


def test_ctrl_c_leaves_nothing(server: Server, cache: Path) -> None:
    process = start(entry(server, "/slow/"))
    deadline = time.monotonic() + 60
    while not (cache.is_dir() and any(cache.iterdir())):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(cache.iterdir()) == []
