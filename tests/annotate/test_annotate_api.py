"""The HTTP interface, spoken to as a browser or an attacker would: a real server on a loopback port."""

from __future__ import annotations

import io
import itertools
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from goldeye.annotate.app import create_app
from goldeye.annotate.assign import GroupPictures
from goldeye.annotate.server import running_server, serve
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.errors import ImageError, InvalidInput

SIZE = 24
IDS = itertools.count()


def make_groups(folder: Path, count: int = 3, candidates: int = 4) -> list[GroupPictures]:
    """Groups whose candidate k of group g is the one flat colour (g, k, 0); the original is (g, 200, 0)."""
    groups = []
    for g in range(count):
        paths = {}
        for key in ["original", *(f"{k:02}" for k in range(1, candidates + 1))]:
            paths[key] = folder / f"secret_name_{key}_{g}.png"
            colour = (g, 200 if key == "original" else int(key), 0)
            notes = PngInfo()
            notes.add_text("enhancer", f"enhancer-{key}")
            Image.new("RGB", (SIZE, SIZE), colour).save(paths[key], pnginfo=notes)
        groups.append(GroupPictures(f"sensitive/group-{g}", paths.pop("original"), paths))
    return groups


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the system's certificates for each client takes long


def client(base: str, headers: dict[str, str] | None = None) -> httpx.Client:
    return httpx.Client(base_url=base, headers=headers, verify=NO_TLS)


class Api:
    """A signed-in person."""

    def __init__(self, base: str, token: str) -> None:
        self.http = client(base, {"X-Goldeye": "1"})
        self.signed_in = self.http.post("/api/session", json={"token": token})

    def next(self) -> dict[str, Any]:
        answer = self.http.post("/api/next")
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def vote(
        self, work: dict[str, Any], position: int, label: str | None, change: dict[str, Any] | None = None
    ) -> httpx.Response:
        body = {
            "client_id": f"client-{next(IDS):08}",
            "assignment": work["assignment"],
            "position": position,
            "label": label,
            "active_ms": 100,
        }
        return self.http.post("/api/vote", json=body | (change or {}))

    def colour(self, address: str) -> tuple[int, int]:
        """(group, candidate) as painted into the picture at an address."""
        answer = self.http.get(address)
        assert answer.status_code == 200, answer.text
        pixel = np.asarray(Image.open(io.BytesIO(answer.content)))[0, 0]
        return int(pixel[0]), int(pixel[1])


class Site:
    def __init__(self, base: str, store: Store, groups: list[GroupPictures]) -> None:
        self.base, self.store, self.groups = base, store, groups

    def person(self, name: str) -> Api:
        return Api(self.base, self.store.invite(name))


@contextmanager
def running_site(folder: Path, votes: int = 3) -> Iterator[Site]:
    groups, store = make_groups(folder), Store(folder / "a.sqlite")
    with running_server(create_app(groups, store, settings=AnnotationSettings(votes=votes))) as base:
        yield Site(base, store, groups)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as site:
        yield site


@pytest.fixture(scope="module")
def strong_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For requests that must change nothing: one server stands them all."""
    with running_site(tmp_path_factory.mktemp("site"), votes=1000) as site:
        yield site


def error_code(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"].endswith(".")
    return str(error["code"])


def test_votes_land_on_the_right_candidate_whatever_the_order(site: Site) -> None:
    """Three people label by what they see in the pictures; what is stored agrees with the files, and orders differ."""
    judge = {1: "Positive", 2: "Negative", 3: "Similar", 4: "Positive"}
    orders = set()
    for name in ("Ada", "Bo", "Cy"):
        api = site.person(name)
        for turn in range(3):
            work = api.next()
            assert work["progress"] == {"done": turn, "total": 3}
            assert (work["width"], work["height"]) == (SIZE, SIZE)
            group, kind = api.colour(work["original"])
            assert kind == 200
            shown = [api.colour(address) for address in work["candidates"]]
            assert {g for g, _ in shown} == {group}
            orders.add(tuple(k for _, k in shown))
            for position, (_, k) in enumerate(shown):
                answer = api.vote(work, position, judge[k]).json()
                assert answer["complete"] == (position == 3)
        assert api.next() == {"finished": True, "reason": "done", "progress": {"done": 3, "total": 3}}
    votes = site.store.counted_votes()
    assert len(votes) == 3 * 3 * 4
    assert all(vote.label == judge[int(vote.candidate)] for vote in votes)
    assert {vote.seconds for vote in votes} == {0.4}
    assert len(orders) > 3


def test_resend_undo_change_and_resume(site: Site) -> None:
    ada = site.person("Ada")
    work = ada.next()
    for _ in range(3):
        saved = ada.vote(work, 1, "Positive", {"client_id": "client-again"}).json()
        assert saved == {"saved": "client-again", "answers": [None, "Positive", None, None], "complete": False}
    assert ada.vote(work, 1, "Negative").json()["answers"][1] == "Negative"
    assert ada.vote(work, 0, "Similar").json()["answers"][:2] == ["Similar", "Negative"]
    assert ada.vote(work, 0, None).json()["answers"][:2] == [None, "Negative"]
    again = ada.next()
    assert (again["assignment"], again["answers"]) == (work["assignment"], [None, "Negative", None, None])
    assert site.store.progress().answers == 4
    assert error_code(ada.vote(work, 2, "Positive", {"client_id": "client-again"}), 409) == "conflict"


def test_nothing_tells_the_enhancer(site: Site) -> None:
    """Page, addresses, headers and the pictures' bytes: no name, no key, no metadata, no date of a file."""
    ada, bo = site.person("Ada"), site.person("Bo")
    first, second = ada.next(), bo.next()
    for work in (first, second):
        assert set(work) == {
            "finished", "assignment", "kind", "original", "lr", "candidates", "answers", "complete", "skipped",
            "width", "height", "progress", "practice",
        }  # fmt: skip
        assert re.fullmatch(r"[\w-]{24}", work["assignment"])
        assert work["candidates"] == [f"/api/picture/{work['assignment']}/{n}" for n in (1, 2, 3, 4)]
    assert first["assignment"] != second["assignment"]
    answer = ada.http.get(first["candidates"][0])
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"].startswith("private")
    assert not {"last-modified", "etag", "content-disposition"} & set(answer.headers)
    assert b"enhancer" not in answer.content
    chunks = {
        answer.content[m.start() - 4 : m.end()][4:]
        for m in re.finditer(b"IHDR|IDAT|IEND|tEXt|tIME|eXIf|iCCP", answer.content)
    }
    assert chunks == {b"IHDR", b"IDAT", b"IEND"}
    everything = ada.http.post("/api/next").text + str(answer.headers) + ada.http.get("/").text
    for secret in ("secret_name", "sensitive", "group-", "enhancer"):
        assert secret not in everything


def test_sixteen_bit_pictures_are_shown(tmp_path: Path) -> None:
    from goldeye.images import write_image

    pictures = {}
    for key, value in [("o", 0), ("01", 65535)]:
        pictures[key] = tmp_path / f"{key}.png"
        write_image(pictures[key], np.full((4, 4, 3), value, np.uint16))
    store = Store(tmp_path / "a.sqlite")
    with running_server(create_app([GroupPictures("g", pictures.pop("o"), pictures)], store)) as base:
        ada = Api(base, store.invite("Ada"))
        assert ada.colour(ada.next()["candidates"][0]) == (255, 255)


def test_others_work_does_not_exist(site: Site) -> None:
    ada, bo = site.person("Ada"), site.person("Bo")
    work = ada.next()
    assert ada.http.get(work["candidates"][0]).status_code == 200
    assert error_code(bo.http.get(work["candidates"][0]), 404) == "not_found"
    assert error_code(bo.vote(work, 0, "Positive"), 404) == "not_found"
    nobody = client(site.base, {"X-Goldeye": "1"})
    assert error_code(nobody.get(work["candidates"][0]), 401) == "no_session"
    assert error_code(nobody.post("/api/next"), 401) == "no_session"
    assert error_code(nobody.get("/api/session", headers={"Cookie": f"goldeye-{site.store.instance}=x"}), 401)
    assert site.store.progress().answers == 0


@pytest.mark.parametrize(
    "address",
    [
        "/api/picture/{id}/5",
        "/api/picture/{id}/-1",
        "/api/picture/{id}/99999999999999999999999",
        "/api/picture/{id}/1.png",
        "/api/picture/{id}/01/../../../a.sqlite",
        "/api/picture/..%2f..%2fa.sqlite/0",
        "/api/picture/%2e%2e/%2e%2e",
        "/api/picture/{id}%00/1",
        "/api/picture/x' OR '1'='1/1",
        "/api/picture//etc/passwd",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/store.py",
        "/static//etc/passwd",
        "/static/",
        "/a.sqlite",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/api/progress",
        "/../../../../etc/passwd",
    ],
)
def test_hostile_addresses(strong_site: Site, address: str) -> None:
    ada = strong_site.person(f"p{next(IDS)}")
    path = address.format(id=ada.next()["assignment"])
    cookie = f"goldeye-{strong_site.store.instance}={ada.http.cookies[f'goldeye-{strong_site.store.instance}']}"
    host, port = strong_site.base.removeprefix("http://").split(":")
    # Raw, because HTTP clients tidy paths up before sending.
    with socket.create_connection((host, int(port))) as raw:
        line = (
            f"GET {path.replace(' ', '%20')} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        )
        raw.sendall(line.encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert re.match(rb"HTTP/1.1 (404|422) ", answer), answer[:200]
    for secret in (b"SQLite format", b"root:", b"import", b"secret_name"):
        assert secret not in answer


def test_posts_only_from_the_own_page(site: Site) -> None:
    token = site.store.invite("Ada")
    plain = client(site.base)
    assert error_code(plain.post("/api/session", json={"token": token}), 403) == "foreign"
    own = {"X-Goldeye": "1"}
    foreign = own | {"Origin": "https://evil.example"}
    assert error_code(plain.post("/api/session", json={"token": token}, headers=foreign), 403) == "foreign"
    assert error_code(plain.post("/api/session", json={"token": token}, headers=own | {"Origin": "null"}), 403)
    assert plain.post("/api/session", json={"token": token}, headers=own | {"Origin": site.base}).status_code == 200
    assert "access-control-allow-origin" not in plain.options("/api/session", headers=foreign).headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost@evil.example", "evil:80"]
)
def test_other_hosts_get_nothing(strong_site: Site, host: str) -> None:
    answer = client(strong_site.base, {"Host": host}).get("/")
    assert error_code(answer, 400) == "host"
    assert client(strong_site.base, {"Host": "localhost:1"}).get("/").status_code == 200


def test_safety_headers_and_cookie(site: Site) -> None:
    ada = site.person("Ada")
    cookie = ada.signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert cookie.startswith(f"goldeye-{site.store.instance}=")
    who = ada.signed_in.json()
    assert set(who) == {"id", "name", "role", "instance", "title", "task", "lr", "reference"}
    assert (who["name"], who["role"], who["instance"]) == ("Ada", "annotator", site.store.instance)
    assert who["task"]["labels"] == ["Positive", "Similar", "Negative"]
    for answer in (ada.http.get("/"), ada.http.get("/static/main.js"), ada.http.get("/nowhere"), ada.signed_in):
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    page = ada.http.get("/").text
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=|https?://", page)
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert ada.http.get(asset).status_code == 200
    assert (
        ada.http.get("/static/main.js")
        .headers["content-type"]
        .startswith(("text/javascript", "application/javascript"))
    )


def test_bad_tokens_and_revoked_links(site: Site) -> None:
    assert error_code(Api(site.base, "x").signed_in, 401) == "no_session"
    ada = site.person("Ada")
    work = ada.next()
    site.store.revoke("Ada")
    assert error_code(ada.http.post("/api/next"), 401) == "no_session"
    assert error_code(ada.vote(work, 0, "Positive"), 401) == "no_session"
    assert error_code(ada.http.get(work["original"]), 401) == "no_session"


@pytest.mark.parametrize(
    "change",
    [
        {"label": "Great"},
        {"label": 1},
        {"position": -1},
        {"position": 4},
        {"position": "0"},
        {"position": 1.5},
        {"client_id": "short"},
        {"client_id": "has space in it"},
        {"active_ms": -1},
        {"active_ms": 10**12},
        {"assignment": "x" * 65},
        {"extra": 1},
    ],
)
def test_bad_answers_are_refused(strong_site: Site, change: dict[str, Any]) -> None:
    ada = strong_site.person(f"p{next(IDS)}")
    assert error_code(ada.vote(ada.next(), 0, "Positive", change), 422) in ("invalid_request", "invalid_input")
    assert strong_site.store.progress().answers == 0


def test_bad_bodies_are_refused(site: Site) -> None:
    ada = site.person("Ada")
    json = {"Content-Type": "application/json"}
    assert error_code(ada.http.post("/api/vote", content=b"{", headers=json), 422) == "invalid_request"
    assert error_code(ada.http.post("/api/vote", content=b" " * 20_000, headers=json), 413) == "too_large"
    assert error_code(ada.http.post("/api/vote", content=iter([b"{}"]), headers=json), 413) == "too_large"
    assert error_code(ada.http.get("/api/vote"), 405) == "method_not_allowed"
    assert error_code(ada.http.put("/api/vote"), 405) == "method_not_allowed"


def test_a_picture_that_went_missing(site: Site) -> None:
    ada = site.person("Ada")
    work = ada.next()
    for group in site.groups:
        group.original.unlink()
    answer = ada.http.get(work["original"])
    assert error_code(answer, 500) == "picture"
    assert "secret_name" not in answer.text


def test_pictures_are_checked_at_the_start(tmp_path: Path) -> None:
    groups, store = make_groups(tmp_path), Store(tmp_path / "a.sqlite")
    small = groups[1].candidates["02"]
    Image.new("RGB", (SIZE, SIZE - 1)).save(small)
    with pytest.raises(InvalidInput, match=rf"'{small}' has 24x23 pixels, but its original .* has 24x24"):
        create_app(groups, store)
    small.unlink()
    with pytest.raises(ImageError, match=small.name):
        create_app(groups, store)


def test_a_port_in_use_is_one_sentence(site: Site, tmp_path: Path) -> None:
    app = create_app(site.groups, site.store)
    port = int(site.base.rsplit(":", 1)[1])
    with pytest.raises(InvalidInput, match=rf"Cannot serve at 127\.0\.0\.1, port {port}: "):
        serve(app, "127.0.0.1", port)
    with pytest.raises(InvalidInput, match="Cannot serve at"):
        serve(app, "127.0.0.1", 70_000)


SERVER = """
import sys
from pathlib import Path
from goldeye.annotate.app import create_app
from goldeye.annotate.assign import GroupPictures
from goldeye.annotate.server import serve
from goldeye.annotate.store import Store
folder = Path(sys.argv[1])
keys = ["01", "02", "03", "04"]
groups = [
    GroupPictures(f"g{n}", folder / f"secret_name_original_{n}.png",
                  {key: folder / f"secret_name_{key}_{n}.png" for key in keys})
    for n in range(3)
]
serve(create_app(groups, Store(folder / 'annotations.sqlite')), "127.0.0.1", 0, lambda base: print(base, flush=True))
"""


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    base = process.stdout.readline().strip()
    assert base, process.communicate()[1]
    return process, base


def test_a_killed_server_keeps_every_confirmed_answer(tmp_path: Path) -> None:
    make_groups(tmp_path)
    store = Store(tmp_path / "annotations.sqlite")
    token = store.invite("Ada")
    process, base = start_server(tmp_path)
    try:
        ada = Api(base, token)
        work = ada.next()
        for position in range(3):
            assert ada.vote(work, position, "Positive", {"client_id": f"client-{position}"}).status_code == 200
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process, base = start_server(tmp_path)
    try:
        session = ada.http.cookies
        ada = Api(base, token)
        ada.http.cookies = session  # the session outlives the server
        assert ada.next()["answers"] == ["Positive"] * 3 + [None]
        for position in range(4):  # the client did not see all receipts, and sends them again
            assert ada.vote(work, position, "Positive", {"client_id": f"client-{position}"}).status_code == 200
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) in (0, 130, -signal.SIGINT, 1)
        assert time.monotonic() - began < 8
    finally:
        process.kill()
    assert store.progress().answers == 4
    assert len(store.counted_votes()) == 4


def test_threads_of_one_server(site: Site) -> None:
    """Eight people label at the same time; each answer is stored once and no group has more than three votes."""
    from concurrent.futures import ThreadPoolExecutor

    people = [site.person(f"p{n}") for n in range(8)]

    def work_on(api: Api) -> int:
        given = 0
        while not (work := api.next())["finished"]:
            for position in range(4):
                assert api.vote(work, position, "Similar").status_code == 200
                given += 1
        return given

    with ThreadPoolExecutor(8) as pool:
        given = sum(pool.map(work_on, people))
    assert given == 3 * 3 * 4
    assert site.store.progress().answers == given
    assert set(site.store.progress().by_group.values()) == {3}
