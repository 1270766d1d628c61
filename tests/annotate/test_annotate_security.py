"""The annotation server as an attacker meets it: other people's work, the owner's part, forged and broken requests."""

from __future__ import annotations

import hashlib
import itertools
import json
import queue
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from test_annotate_api import NO_TLS, Api, client, error_code, make_groups

from goldeye.annotate import guard, guideline, server
from goldeye.annotate.app import create_app
from goldeye.annotate.assign import Assigner, GroupPictures
from goldeye.annotate.guard import Guard, Pace
from goldeye.annotate.guideline import default_guideline, read_guideline, render
from goldeye.annotate.server import running_server, serve
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import SESSION_LIFE, Store, utc_now
from goldeye.errors import GoldeyeError, InvalidInput

IDS = itertools.count()
OWN = {"X-Goldeye": "1"}
# What annotators may ask. Everything else that the application knows is refused to them.
ANNOTATORS = {
    "/api/session",
    "/api/sign-out",
    "/api/guideline",
    "/api/guideline/{number}",
    "/api/next",
    "/api/previous",
    "/api/vote",
    "/api/skip",
    "/api/feedback",
    "/api/picture/{assignment}/{number}",
    "/api/work/{assignment}",
}
PAGES = {"/", "/owner", "/api-docs", "/static"}
PLACEHOLDERS = {"number": "1", "assignment": "x" * 24}
HEADERS = ("content-security-policy", "referrer-policy", "x-content-type-options", "x-frame-options")
SECRETS = (b"SQLite format", b"root:", b"secret_name", b"sensitive/", b"Traceback", b"goldeye.annotate.")


class Site:
    """A server with its store, and people signed in to it."""

    def __init__(self, base: str, app: Any, store: Store) -> None:
        self.base, self.app, self.store = base, app, store
        self.cookie = f"goldeye-{store.instance}"

    def person(self, name: str | None = None, role: str = "annotator") -> Api:
        return Api(self.base, self.store.invite(name or f"p{next(IDS)}", role))

    def raw(self, line: str, headers: str = "", body: bytes = b"", session: str = "") -> tuple[int, bytes]:
        """(status, whole answer) of a request sent as it is: HTTP clients tidy addresses up."""
        host, port = self.base.removeprefix("http://").split(":")
        cookie = f"Cookie: {self.cookie}={session}\r\n" if session else ""
        head = f"{line} HTTP/1.1\r\nHost: {host}\r\n{cookie}{headers}Connection: close\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(head.encode("latin-1") + body)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        return int(answer.split(b" ", 2)[1]), answer

    def session(self, api: Api) -> str:
        return str(api.http.cookies[self.cookie])


@contextmanager
def running_site(folder: Path, store: Store | None = None, **options: Any) -> Iterator[Site]:
    folder.mkdir(exist_ok=True)
    store = store or Store(folder / "a.sqlite")
    groups = make_groups(folder, options.pop("groups", 3))
    options.setdefault("settings", AnnotationSettings(votes=1000, gold_rate=0))
    pace = options.pop("pace", guard.REQUESTS_AT_ONCE)
    app = create_app(groups, store, **options)
    with pytest.MonkeyPatch.context() as patch, running_server(app) as base:
        patch.setattr(guard, "REQUESTS_AT_ONCE", pace)
        httpx.get(base, verify=NO_TLS)  # builds what stands before every request
        yield Site(base, app, store)
    store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as site:
        yield site


@pytest.fixture(scope="module")
def strong_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For requests that must change nothing: one server stands them all."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(params=["sqlite", "postgresql"])
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A server on either database."""
    database = request.getfixturevalue("postgresql_database") if request.param == "postgresql" else None
    with running_site(tmp_path, Store(database) if database else None, pace=1e6) as site:
        yield site


def operations(app: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, description) of everything that the interface offers."""
    paths = app.openapi()["paths"]
    return [(method, path, about) for path, methods in paths.items() for method, about in methods.items()]


def address(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: PLACEHOLDERS[found[1]], path)


VOTE = {"client_id": "client-none", "assignment": "none", "position": 0, "label": None, "active_ms": 1}


def send(http: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return http.request(method, address(path), **({"json": body or {}} if method == "post" else {}))


# Other people's work and the owner's part -------------------------------------------------------------------------


def test_every_route_is_known_to_this_test(strong_site: Site) -> None:
    """A route that is neither described, nor a page, could escape the tests below."""

    def paths(routes: Any) -> Iterator[str]:
        for route in routes:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None and getattr(route, "path", None) is None:
                yield from paths(inner.routes)
            else:
                yield route.path

    described = {path for _, path, _ in operations(strong_site.app)}
    assert set(paths(strong_site.app.routes)) == described | PAGES
    assert described > ANNOTATORS
    assert {method for method, _, _ in operations(strong_site.app)} == {"get", "post"}


def test_the_owners_routes_are_closed(strong_site: Site) -> None:
    ada, owner = strong_site.person(), strong_site.person(role="owner")
    nobody = client(strong_site.base, OWN)
    forged = client(strong_site.base, OWN | {"Cookie": f"{strong_site.cookie}={'A' * 43}"})
    people = len(strong_site.store.people())
    for method, path, _ in operations(strong_site.app):
        if path != "/api/session":  # where a session begins
            for body in (VOTE, {}) if path == "/api/vote" else ({},):
                assert error_code(send(nobody, method, path, body), 401) == "no_session", path
                assert error_code(send(forged, method, path, body), 401) == "no_session", path
        if path not in ANNOTATORS:
            assert error_code(send(ada.http, method, path), 403) == "owner_only", path
            assert send(owner.http, method, path).status_code in (200, 404, 422), path
    assert len(strong_site.store.people()) == people


def test_an_annotator_cannot_use_the_owners_requests(site: Site) -> None:
    """With bodies and parameters that are right, too: nothing is told and nothing changes."""
    ada, bo = site.person("Ada"), site.person("Bo")
    group = "sensitive/group-0"
    number = next(person.id for person in site.store.people() if person.name == "Ada")
    before = (site.store.people(), site.store.log())
    asked = [
        ada.http.get("/api/owner/group", params={"id": group}),
        ada.http.get("/api/owner/picture", params={"group": group, "slot": "01"}),
        ada.http.get("/api/owner/export", params={"format": "csv", "names": "true"}),
        ada.http.get("/api/owner/log", params={"before": "1"}),
        ada.http.post("/api/owner/people", json={"name": "Eve", "role": "owner"}),
        ada.http.post("/api/owner/gold", json={"group": group, "kind": "gold", "expected": {"01": "Positive"}}),
        *(
            ada.http.post(f"/api/owner/people/{number}", json={"action": action})
            for action in ("pause", "renew", "revoke", "forget", "pass", "requalify", "quota")
        ),
    ]
    for answer in asked:
        assert error_code(answer, 403) == "owner_only"
    assert (site.store.people(), site.store.log()) == before
    assert bo.next()["finished"] is False


def test_others_work_does_not_exist(site: Site) -> None:
    """Each way to name another's assignment is answered as if it had never been."""
    site.store.set_gold("sensitive/group-0", "qualification", {"01": "Positive"})
    ada, bo = site.person("Ada"), site.person("Bo")
    practice = ada.next()
    for position in range(4):
        assert ada.vote(practice, position, "Positive").status_code == 200
    ada.http.post("/api/feedback", json={"assignment": practice["assignment"]})
    site.store.qualify("Ada", passed=True)
    site.store.qualify("Bo", passed=True)
    work = ada.next()
    assert ada.vote(work, 0, "Negative").status_code == 200
    answers = site.store.progress().answers
    for theirs in (practice, work):
        id, given = theirs["assignment"], {"client_id": "client-other", "active_ms": 1}
        requests = [
            bo.http.get(f"/api/picture/{id}/0"),
            bo.http.get(f"/api/picture/{id}/1"),
            bo.http.get(f"/api/picture/{id}/lr"),
            bo.vote(theirs, 0, "Positive"),
            bo.http.post("/api/skip", json=given | {"assignment": id, "reason": "because"}),
            bo.http.post("/api/feedback", json={"assignment": id}),
            bo.http.post("/api/previous", json={"before": id}),
        ]
        unknown = error_code(bo.http.post("/api/feedback", json={"assignment": "x" * 24}), 404)
        for answer in requests:
            assert error_code(answer, 404) == unknown == "not_found"
            assert answer.json()["error"]["message"] in ("There is no such assignment.", "There is no such picture.")
        shown = bo.http.post("/api/next", json={"after": id}).json()
        assert shown["assignment"] != id
        assert shown["answers"] == [None] * 4
    # A client id that Ada used says nothing of her answer, and does not change it.
    mine = bo.next()
    sent = {"client_id": "client-shared", "position": 0, "label": "Similar"}
    assert ada.vote(work, 0, "Similar", sent).status_code == 200
    assert error_code(bo.vote(mine, 0, "Similar", sent), 409) == "conflict"
    assert site.store.progress().answers == answers + 1


HOSTILE_PATHS = [
    "/api/picture/{id}/%2e%2e%2f%2e%2e%2fa.sqlite",
    "/api/picture/{id}/..%5c..%5ca.sqlite",
    "/api/picture/{id}/1/../../../../a.sqlite",
    "/api/picture/{id}/%00",
    "/api/picture/{id}/0%00.png",
    "/api/picture/{id}/1%0d%0aX-Evil:%201",
    "/api/picture/{id}/10000",
    "/api/picture/{id}/5",
    "/api/picture/{id}/-0",
    "/api/picture/{id}/%EF%BC%91",
    "/api/picture/{id}/LR",
    "/api/picture/{id}/lr",
    "/api/picture/{id}/original",
    "/api/picture/{id}/01/",
    "/api/picture/{id}/" + "1" * 5000,
    "/api/picture/" + "a" * 5000 + "/1",
    "/api/picture/%ff%fe/1",
    "/api/picture/{id}%0a/1",
    "/api/picture/sensitive%2fgroup-0/0",
    "/api/picture/{folder}/0",
    "/api/guideline/..%2f..%2fa.sqlite",
    "/api/guideline/-1",
    "/api/guideline/1001",
    "/api/guideline/" + "9" * 5000,
    "/static/%00",
    "/static/main.js%00.png",
    "/static/" + "a" * 5000,
    "/static/" + "a/" * 2000,
    "/static/%2e%2e%2f%2e%2e%2fapp.py",
    "/static/..%5c..%5capp.py",
    "/static/....//....//app.py",
    "/static/%c0%ae%c0%ae/app.py",
    "/static//{folder}/a.sqlite",
    "/static/{folder}/a.sqlite",
    "/static/file:///etc/passwd",
    "/static/%ff",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/{folder}/a.sqlite",
    "/a.sqlite-wal",
    "/.git/config",
    "/api",
    "/api/",
    "/api/owner",
    "/owner/",
    "/api/../owner/overview",
    "http://127.0.0.1/api/owner/overview",
    "http://evil.example/etc/passwd",
    "*",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: path[:40])
def test_hostile_addresses_give_nothing(strong_site: Site, tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    ada = strong_site.person()
    folder = str(strong_site.store.path.parent).strip("/")
    path = path.format(id=ada.next()["assignment"], folder=folder)
    status, answer = strong_site.raw(f"GET {path}", session=strong_site.session(ada))
    assert 400 <= status < 500 or (status == 307 and b"location: http://127.0.0.1" in answer.lower()), answer[:300]
    assert not any(secret in answer for secret in (*SECRETS, b"x-evil:"))


HOSTILE_VALUES = [
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "%2e%2e%2f",
    "%00",
    "01%00",
    "%ff",
    "%ED%A0%80",
    "a" * 5000,
    "-1",
    "0",
    "2147483648",
    "9007199254740992",
    "9" * 400,
    "1e400",
    "NaN",
    "' OR 1=1 --",
    "%F0%9F%A6%85",
    "",
]


def test_hostile_parameters_of_the_owners_routes(any_site: Site) -> None:
    """Each parameter with each value, on both databases: a picture of the group asked for, or a clear refusal."""
    owner = any_site.person(role="owner")
    known = {"id": "sensitive/group-0", "group": "sensitive/group-0", "slot": "01", "format": "csv"}
    tried = 0
    for method, path, about in operations(any_site.app):
        names = [each["name"] for each in about.get("parameters", []) if each["in"] == "query"]
        if method != "get" or not names:
            continue
        for name, value in itertools.product(names, HOSTILE_VALUES):
            others = "".join(f"&{key}={known[key]}" for key in names if key != name and key in known)
            value = value.replace(" ", "%20")
            status, answer = any_site.raw(f"GET {path}?{name}={value}{others}", session=any_site.session(owner))
            assert status in (200, 404, 422), (path, name, value, answer[:500])
            assert status != 200 or name in ("before", "page", "names"), (path, name, value)
            assert not any(secret in answer for secret in (b"SQLite format", b"root:", b"Traceback", b"secret_name"))
            tried += 1
    assert tried > 100


# Links, sessions, cookies -----------------------------------------------------------------------------------------


def test_the_database_holds_no_token_or_session(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        token = site.store.invite("Ada")
        ada = Api(site.base, token)
        session = site.session(ada)
        with sqlite3.connect(site.store.path) as raw:
            stored = "\n".join(raw.iterdump())
        files = b"".join(path.read_bytes() for path in tmp_path.glob("a.sqlite*"))
        for secret in (token, session):
            assert secret not in stored
            assert secret.encode() not in files
            assert hashlib.sha256(secret.encode()).hexdigest() in stored
            assert len(secret) >= 43  # 32 random bytes
        assert token != session
        assert token not in ada.signed_in.text + str(ada.signed_in.headers)


def test_links_and_sessions_end(site: Site) -> None:
    first = site.store.invite("Ada")
    one, two = Api(site.base, first), Api(site.base, first)
    assert one.http.get("/api/session").status_code == two.http.get("/api/session").status_code == 200
    stolen = client(site.base, OWN | {"Cookie": f"{site.cookie}={site.session(one)}"})
    assert stolen.get("/api/session").status_code == 200
    # Signing out ends this session on the server, and no other.
    assert one.http.post("/api/sign-out", json={}).json() == {"signed_out": True}
    assert site.cookie not in one.http.cookies
    assert error_code(stolen.get("/api/session"), 401) == "no_session"
    assert two.http.get("/api/session").status_code == 200
    # A renewed link replaces the old one, whose sessions end.
    second = site.store.invite("Ada", renew=True)
    assert error_code(two.http.get("/api/session"), 401) == "no_session"
    assert error_code(Api(site.base, first).signed_in, 401) == "no_session"
    three = Api(site.base, second)
    assert three.signed_in.status_code == 200
    # Revoked: link and sessions; renewing lifts it, but the ended session stays ended.
    site.store.revoke("Ada")
    assert error_code(three.http.get("/api/session"), 401) == "no_session"
    assert error_code(Api(site.base, second).signed_in, 401) == "no_session"
    four = Api(site.base, site.store.invite("Ada", renew=True))
    assert four.signed_in.status_code == 200
    assert error_code(three.http.get("/api/session"), 401) == "no_session"
    # Paused: signed in still, without work. Forgotten: out.
    site.store.pause("Ada")
    assert four.next()["reason"] == "paused"
    site.store.forget("Ada")
    assert error_code(four.http.get("/api/session"), 401) == "no_session"


def test_a_session_ends_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = site.person("Ada")
    assert f"max-age={int(SESSION_LIFE.total_seconds())}" in ada.signed_in.headers["set-cookie"].lower()
    later = utc_now() + SESSION_LIFE
    monkeypatch.setattr("goldeye.annotate.store.utc_now", lambda: later)
    assert error_code(ada.http.get("/api/session"), 401) == "no_session"


def test_what_the_owner_does_is_at_once(site: Site) -> None:
    owner = site.person("Eve", "owner")
    made = owner.http.post("/api/owner/people", json={"name": "Ada"}).json()
    link, token = made["link"].split("#token=")
    assert link == f"{site.base}/"
    ada = Api(site.base, token)
    here = f"/api/owner/people/{made['person']['id']}"
    renewed = owner.http.post(here, json={"action": "renew"}).json()["link"].split("#token=")[1]
    assert error_code(ada.http.get("/api/session"), 401) == "no_session"
    assert error_code(Api(site.base, token).signed_in, 401) == "no_session"
    ada = Api(site.base, renewed)
    for action in ("revoke", "forget"):
        assert owner.http.post(here, json={"action": action}).status_code == 200
        assert error_code(ada.http.get("/api/session"), 401) == "no_session"
    assert error_code(owner.http.post(here, json={"action": "renew"}), 404) == "not_found"
    assert token not in owner.http.get("/api/owner/overview").text + owner.http.get("/api/owner/log").text


def test_a_forgotten_persons_pseudonym_is_nobodys_name(site: Site) -> None:
    """Nobody can be invited under what another will be called once they are forgotten."""
    owner = site.person("Eve", "owner")
    site.person("Ada")
    (ada,) = [one for one in site.store.people() if one.name == "Ada"]
    taken = owner.http.post("/api/owner/people", json={"name": ada.pseudonym})
    assert error_code(taken, 422) == "invalid_input"
    assert owner.http.post(f"/api/owner/people/{ada.id}", json={"action": "forget"}).status_code == 200


@pytest.mark.parametrize("secure", [False, True])
def test_cookie_attributes(tmp_path: Path, secure: bool) -> None:
    with running_site(tmp_path, secure=secure) as site:
        token = site.store.invite("Ada")
        http = client(site.base, OWN)
        begun = http.post("/api/session", json={"token": token}).headers["set-cookie"]
        session = begun.partition("=")[2].partition(";")[0]
        ended = http.post("/api/sign-out", json={}, headers={"Cookie": f"{site.cookie}={session}"})
        for cookie in (begun, ended.headers["set-cookie"]):
            name, _, rest = cookie.partition("=")
            assert name == site.cookie
            parts = {part.strip().lower() for part in rest.split(";")[1:]}
            assert {"httponly", "path=/", "samesite=strict"} <= parts
            assert ("secure" in parts) == secure
            assert not any(part.startswith("domain") for part in parts)


def test_two_servers_on_one_host(tmp_path: Path) -> None:
    """Cookies do not know ports: a browser sends both servers the cookies of both."""
    with running_site(tmp_path / "one") as one, running_site(tmp_path / "two") as two:
        assert one.cookie != two.cookie
        browser = httpx.Client(headers=OWN, verify=NO_TLS)
        for site in (one, two):
            token = site.store.invite("Ada")
            assert browser.post(f"{site.base}/api/session", json={"token": token}).status_code == 200
        for site in (one, two):
            assert browser.get(f"{site.base}/api/session").json()["instance"] == site.store.instance
        # A session of one is none of the other's, under whatever name.
        swapped = {"Cookie": f"{two.cookie}={browser.cookies[one.cookie]}"}
        assert error_code(httpx.get(f"{two.base}/api/session", headers=swapped, verify=NO_TLS), 401) == "no_session"
        assert browser.post(f"{one.base}/api/sign-out", json={}).status_code == 200
        assert browser.get(f"{two.base}/api/session").status_code == 200


# Foreign pages ----------------------------------------------------------------------------------------------------


def test_each_post_must_come_from_the_own_page(strong_site: Site) -> None:
    owner = strong_site.person(role="owner")
    session = {"Cookie": f"{strong_site.cookie}={strong_site.session(owner)}"}
    port = strong_site.base.rsplit(":", 1)[1]
    refused: list[dict[str, str]] = [
        {},
        {"X-Goldeye": ""},
        {"X-Goldeye": "0"},
        {"Sec-Fetch-Site": "cross-site", "Origin": strong_site.base},
        *(
            OWN | {"Origin": origin}
            for origin in (
                "https://evil.example",
                "null",
                "",
                "http://127.0.0.1",
                f"http://127.0.0.1:{int(port) ^ 1}",
                f"http://localhost:{port}",
                f"http://evil.example:{port}",
                f"{strong_site.base}.evil.example",
                f"http://evil.example//127.0.0.1:{port}",
                f"{strong_site.base}/",
            )
        ),
    ]
    state = (strong_site.store.people(), strong_site.store.log(), strong_site.store.progress())
    posts = [path for method, path, _ in operations(strong_site.app) if method == "post"]
    assert len(posts) >= 10
    http = client(strong_site.base, session)
    for path, headers in itertools.product(posts, refused):
        answer = http.post(address(path), headers=headers, json={})
        assert error_code(answer, 403) == "foreign", (path, headers)
    for method in ("put", "patch", "delete", "options"):
        foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = http.request(method, "/api/vote", headers=foreign)
        assert error_code(answer, 403) == "foreign"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (strong_site.store.people(), strong_site.store.log(), strong_site.store.progress()) == state


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example@localhost",
        "localhost:1@evil.example",
        "localhost/evil",
        "localhost#evil",
        "localhost?evil",
        "localhost\\evil",
        "localhost evil",
        "localhost:evil",
        "localhost:1:2",
        "localhost.",
        "[::1]evil",
        "[localhost]",
        "[",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "",
        "\xff",
    ],
)
def test_unknown_hosts_get_nothing(strong_site: Site, host: str) -> None:
    """A name that a foreign page pointed at this machine (DNS rebinding), or a Host that parsers disagree on."""
    owner = strong_site.person(role="owner")
    bare, port = strong_site.base.removeprefix("http://").split(":")
    line = f"GET /api/owner/overview HTTP/1.1\r\nHost: {host}\r\n"
    line += f"Cookie: {strong_site.cookie}={strong_site.session(owner)}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((bare, int(port))) as raw:
        raw.sendall(line.encode("latin-1"))
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"people" not in answer


def test_known_hosts(strong_site: Site) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST:8600", "127.0.0.1:1"):
        assert client(strong_site.base, {"Host": host}).get("/").status_code == 200


def test_a_host_given_twice_or_not_at_all(strong_site: Site) -> None:
    assert strong_site.raw("GET /", "Host: evil.example\r\n")[0] == 400
    bare, port = strong_site.base.removeprefix("http://").split(":")
    with socket.create_connection((bare, int(port))) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


# Proxies ----------------------------------------------------------------------------------------------------------


@contextmanager
def served(app: Any, proxies: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`serve` in a thread, stopped at the end."""
    servers: list[uvicorn.Server] = []

    class Kept(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(server.uvicorn, "Server", Kept)
    opened: queue.Queue[str] = queue.Queue()
    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, opened.put, proxies), daemon=True)
    thread.start()
    base = opened.get(timeout=10)
    try:
        yield base
    finally:
        servers[0].should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("proxies", "believed"), [((), False), (("10.0.0.0/8", "192.168.1.2"), False), (("127.0.0.0/8",), True)]
)
def test_forwarded_headers_only_of_trusted_proxies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: tuple[str, ...], believed: bool
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own switch does not count
    store = Store(tmp_path / "a.sqlite")
    token = store.invite("Eve", "owner")
    with served(create_app(make_groups(tmp_path, 1), store), proxies, monkeypatch) as base:
        owner = Api(base, token)
        forwarded = {
            "X-Forwarded-For": "203.0.113.5",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Port": "1",
            "Forwarded": "for=203.0.113.5;host=evil.example;proto=https",
        }
        link = owner.http.post("/api/owner/people", json={"name": "Ada"}, headers=forwarded).json()["link"]
        assert link.startswith(base.replace("http:", "https:") if believed else base)

        def sign_in(address: str, token: str = "wrong") -> int:
            headers = {"X-Forwarded-For": address}
            return owner.http.post("/api/session", json={"token": token}, headers=headers).status_code

        # What the caller adds in front of what the proxy knows is not believed either.
        answers = [sign_in(f"198.51.100.{n}, 203.0.113.7") for n in range(25)]
        assert answers[:20] == [401] * 20
        assert answers[-1] == 429
        assert sign_in("203.0.113.8") == (401 if believed else 429)
        assert sign_in("203.0.113.8", token) == 200


def test_what_is_no_proxy_is_refused(tmp_path: Path) -> None:
    app = create_app(make_groups(tmp_path, 1), Store(tmp_path / "a.sqlite"))
    for proxy in ("*", "proxy.example", "10.0.0.0/33", ""):
        with pytest.raises(InvalidInput, match="--trusted-proxy"):
            serve(app, "127.0.0.1", 0, trusted_proxies=(proxy,))


# Pace -------------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pace_is_a_bucket_for_each_caller() -> None:
    clock = Clock()
    pace = Pace(2.0, 5.0, clock)
    assert [pace.allows("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert pace.allows("b")  # others are not held up
    clock.now += 0.4
    assert not pace.allows("a")
    clock.now += 0.2  # refused requests cost nothing: 1.2 tokens by now
    assert [pace.allows("a"), pace.allows("a")] == [True, False]
    clock.now += 1e6
    assert [pace.allows("a") for _ in range(6)] == [True] * 5 + [False]  # never more than the burst
    assert not pace.allows("a", 0)
    clock.now += 0.5
    assert [pace.allows("a", 0), pace.allows("a", 0)] == [True, True]  # asking costs nothing
    assert [pace.allows("a"), pace.allows("a", 0)] == [True, False]


def test_pace_remembers_a_bounded_number_of_callers() -> None:
    pace = Pace(1.0, 1.0, Clock())
    for n in range(25_000):
        assert pace.allows(str(n))
    assert len(pace._left) <= 10_000


def test_pace_of_many_threads() -> None:
    pace = Pace(1.0, 500.0, Clock())
    allowed: list[bool] = []

    def ask() -> None:
        allowed.extend([pace.allows("a") for _ in range(200)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 500


def many(base: str, count: int, headers: Callable[[int], str]) -> list[int]:
    """Statuses of `count` requests over one connection, as fast as they can be sent."""
    host, port = base.removeprefix("http://").split(":")
    statuses = []
    with socket.create_connection((host, int(port))) as raw:
        for start in range(0, count, 20):
            numbers = range(start, min(start + 20, count))
            lines = [f"GET /api/session HTTP/1.1\r\nHost: {host}\r\n{headers(n)}\r\n" for n in numbers]
            raw.sendall("".join(lines).encode())
            got = b""
            while got.count(b"HTTP/1.1 ") < len(lines) or not got.endswith(b"}"):
                got += raw.recv(65536)
            statuses += [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", got)]
    return statuses


def guard_of(site: Site) -> Guard:
    """The server's guard, in the chain that a request passes."""
    layer: Any = site.app.middleware_stack
    while not isinstance(layer, Guard):
        layer = layer.app
    return layer


def test_who_asks_too_fast_is_held_up_alone(site: Site) -> None:
    ada, bo = site.person("Ada"), site.person("Bo")
    assert ada.http.get("/api/session").status_code == bo.http.get("/api/session").status_code == 200
    cookie = f"Cookie: {site.cookie}={site.session(ada)}\r\n"
    guard_of(site).pace.clock = Clock()  # stands still: a busy machine may not send faster than the pace allows
    assert 429 in many(site.base, 600, lambda n: cookie)
    held = ada.http.get("/api/session")
    assert error_code(held, 429) == "too_many"
    assert bo.http.get("/api/session").status_code == 200


@pytest.mark.parametrize("form", ["other={n}", "{cookie}=made-up-{n}", "{cookie}=made-up-{n}; {cookie}={session}"])
def test_nobody_gets_a_pace_of_their_own_by_making_sessions_up(site: Site, form: str) -> None:
    """Cookies that name no session count for the address; one that hides behind made-up ones counts for itself."""
    ada, bo = site.person("Ada"), site.person("Bo")
    assert ada.http.get("/api/session").status_code == bo.http.get("/api/session").status_code == 200
    session = site.session(ada)
    guard_of(site).pace.clock = Clock()

    def header(n: int) -> str:
        return f"Cookie: {form.format(n=n, cookie=site.cookie, session=session)}\r\n"

    statuses = many(site.base, 900, header)
    assert statuses.count(429) > 100
    assert bo.http.get("/api/session").status_code == 200  # signed in: has a pace of their own at the same address


def test_failed_sign_ins_from_one_address(site: Site) -> None:
    clock = Clock()
    site.app.state.site.failures = Pace(0.2, 20.0, clock)
    token = site.store.invite("Ada")
    http = client(site.base, OWN)

    def sign_in(token: str) -> httpx.Response:
        return http.post("/api/session", json={"token": token})

    for n in range(20):
        assert sign_in(token).status_code == 200  # what works is never counted
        assert error_code(sign_in(f"guess-{n}"), 401) == "no_session"
    assert error_code(sign_in("guess"), 429) == "too_many"
    assert sign_in(token).status_code == 200  # many people may share an address
    clock.now += 5.1
    assert error_code(sign_in("guess"), 401) == "no_session"
    assert error_code(sign_in("guess"), 429) == "too_many"


# Headers ----------------------------------------------------------------------------------------------------------


def test_the_safety_headers_are_on_every_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, owner = site.person("Ada"), site.person("Eve", "owner")
    work = ada.next()
    plain = client(site.base)
    static = plain.get("/static/main.js")
    answers = {
        "page": plain.get("/"),
        "owner": plain.get("/owner"),
        "docs": plain.get("/api-docs"),
        "static": static,
        "not modified": plain.get("/static/main.js", headers={"If-None-Match": static.headers["etag"]}),
        "part": plain.get("/static/main.js", headers={"Range": "bytes=0-9"}),
        "bad part": plain.get("/static/main.js", headers={"Range": "bytes=99999999-"}),
        "no static": plain.get("/static/nothing.js"),
        "redirect": plain.get("/api/session/"),
        "head": plain.head("/static/main.js"),
        "head of the page": plain.head("/"),
        "nowhere": plain.get("/nowhere"),
        "no session": plain.get("/api/session"),
        "foreign": plain.post("/api/vote", json={}),
        "host": plain.get("/", headers={"Host": "evil.example"}),
        "sign in": ada.signed_in,
        "next": ada.http.post("/api/next"),
        "picture": ada.http.get(work["original"]),
        "no picture": ada.http.get(work["original"] + "9"),
        "guideline": ada.http.get("/api/guideline/0"),
        "invalid": ada.http.post("/api/vote", json={}),
        "malformed": ada.http.post("/api/vote", content=b"{", headers={"Content-Type": "application/json"}),
        "too large": ada.http.post("/api/vote", content=b" " * 20_000),
        "method": ada.http.put("/api/vote", json={}),
        "owner only": ada.http.get("/api/owner/overview"),
        "overview": owner.http.get("/api/owner/overview"),
        "openapi": owner.http.get("/api/openapi.json"),
        "owner's picture": owner.http.get("/api/owner/picture", params={"group": "sensitive/group-0", "slot": "01"}),
        "no export": owner.http.get("/api/owner/export", params={"format": "csv"}),
    }

    def broken(*args: object) -> None:
        raise RuntimeError("secret_name: what went wrong is nobody's business")

    monkeypatch.setattr(site.app.state.site.assigner, "claim", broken)
    answers["broken"] = ada.http.post("/api/next")
    for _ in range(20):  # the pace allows one more every 20 ms, which may come between
        many(site.base, 400, lambda n: "")
        answers["too many"] = plain.get("/static/main.js")
        if answers["too many"].status_code == 429:
            break
    expected = {"page": 200, "not modified": 304, "part": 206, "bad part": 416, "redirect": 307, "foreign": 403}
    expected |= {"host": 400, "picture": 200, "too large": 413, "method": 405, "broken": 500, "too many": 429}
    assert {name: answers[name].status_code for name in expected} == expected
    assert error_code(answers["broken"], 500) == "server"
    for name, answer in answers.items():
        lacking = [header for header in HEADERS if header not in answer.headers]
        assert not lacking, (name, lacking)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        assert "cache-control" in answer.headers
        assert name == "picture" or "secret_name" not in answer.text


# Broken requests --------------------------------------------------------------------------------------------------

JSON = "Content-Type: application/json\r\n"
BROKEN_BODIES = [
    b"",
    b"null",
    b"[]",
    b"0",
    b"true",
    b'""',
    b"{",
    b"}",
    b"{}{}",
    b"[" * 16_000,
    b'{"a":' * 3000,
    b"[" * 8000 + b"]" * 8000,
    b"9" * 5000,
    b"-" + b"9" * 16_000,
    b'{"position": 1e999}',
    b'{"active_ms": NaN, "position": -Infinity}',
    b'"\xff\xfe"',
    b'{"token": "\xed\xa0\x80"}',
    b'{"\xff": 1}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b'{"\\ud800": 1}',
    b'{"\\u0000": 1}',
    '{"token": "x"}'.encode("utf-16"),
    b'{"assignment": "a", "assignment": "b"}',
    b"assignment=x&position=0",
    b"\x1f\x8b\x08\x00",
]
HOSTILE_FIELDS: list[Any] = [
    "\ud800",
    "a\x00b",
    "\u202e",
    "x" * 15_000,
    " ",
    2**31,
    2**63,
    10**400,
    -1,
    0.5,
    True,
    None,
    [],
    {"\ud800": "\ud800"},
    {"\x00": "Positive"},
    {"01": "\x00"},
    {str(n): "Positive" for n in range(200)},
]
CONTENT_TYPES = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "application/json;;;=",
    "application/vnd.api+json",
    "application/xml",
    "image/svg+xml",
    "\xff\xff",
    "",
]


def test_broken_bodies_are_refused(any_site: Site) -> None:
    """Whatever is sent, on both databases: a clear refusal and nothing stored; never an error of the server's."""
    posts = [path for method, path, _ in operations(any_site.app) if method == "post"]
    for path in posts:
        owner = any_site.person(role="owner")
        number = next(one.id for one in any_site.store.people()[::-1])
        here = path.replace("{number}", str(number))
        for headers, body in [
            *((JSON, body) for body in BROKEN_BODIES),
            *((f"Content-Type: {kind}\r\n", b'{"token": "x", "assignment": "x"}') for kind in CONTENT_TYPES),
        ]:
            session = any_site.session(owner)
            length = f"X-Goldeye: 1\r\nContent-Length: {len(body)}\r\n"
            status, answer = any_site.raw(f"POST {here}", headers + length, body, session)
            fine = {"/api/next", "/api/sign-out", "/api/previous"}  # ask for nothing in particular
            assert status in (400, 401, 404, 409, 415, 422, 429) or (status == 200 and here in fine), (
                path,
                body[:80],
                answer[:400],
            )
            assert not any(secret in answer for secret in SECRETS)
            assert b'{"error":{"code":' in answer or status == 200
    assert any_site.store.progress().answers == 0


def test_hostile_fields_are_refused(any_site: Site) -> None:
    """Each field of each request, right but for one."""
    ada, owner = any_site.person("Ada"), any_site.person("Eve", "owner")
    work = ada.next()["assignment"]
    given = {"client_id": "client-0000", "assignment": work, "active_ms": 5}
    group = "sensitive/group-1"
    number = next(one.id for one in any_site.store.people() if one.name == "Ada")
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/api/vote", given | {"position": 0, "label": "Positive"}),
        ("/api/skip", given | {"client_id": "client-0001", "reason": "because"}),
        ("/api/feedback", {"assignment": work}),
        ("/api/previous", {"before": work}),
        ("/api/next", {"after": work}),
        ("/api/owner/people", {"name": "Bo", "role": "annotator", "quota": 3}),
        (f"/api/owner/people/{number}", {"action": "quota", "quota": 2}),
        ("/api/owner/gold", {"group": group, "kind": "gold", "expected": {"01": "Similar"}, "note": "look"}),
        ("/api/owner/gold", {"group": group, "kind": None, "expected": {"01": "Similar"}, "note": "look"}),
        ("/api/session", {"token": "x"}),
    ]
    any_site.app.state.site.failures = Pace(1e6, 1e6)
    # Numbers and the like are refused long before a database; once is enough.
    values = [each for each in HOSTILE_FIELDS if any_site.store.is_sqlite or isinstance(each, str | dict)]
    for path, right in requests:
        api = owner if "/owner/" in path else ada
        known = [path.endswith(end) for end in ("vote", "skip", "people", "gold")]
        if any(known):
            assert api.http.post(path, json=right).status_code == 200, path
        for key, value in [*itertools.product(right, values), ("\ud800", 1), ("a\x00b", None)]:
            body = json.dumps(right | {key: value})
            answer = api.http.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (path, key, value, answer.text)
            if answer.status_code != 200:
                error_code(answer, answer.status_code)
            assert "Traceback" not in answer.text
    assert any_site.store.progress().answers < 10
    assert owner.http.get("/api/owner/overview").status_code == 200
    assert owner.http.get("/api/owner/log").status_code == 200
    assert owner.http.get("/api/owner/group", params={"id": group}).status_code == 200


def test_sizes_are_bounded(strong_site: Site) -> None:
    ada = strong_site.person()
    own = "X-Goldeye: 1\r\n" + JSON
    chunked = b"2\r\n{}\r\n0\r\n\r\n"
    for headers, body in [
        ("Transfer-Encoding: chunked\r\n", chunked),
        ("Content-Length: 16385\r\n", b" " * 16_385),
        ("Content-Length: 99999999999999999999\r\n", b""),
        ("Content-Length: +2\r\n", b"{}"),
        ("Content-Length: -1\r\n", b"{}"),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", b"{} "),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("Transfer-Encoding: gzip\r\n", b"{}"),
    ]:
        status, answer = strong_site.raw("POST /api/next", own + headers, body, strong_site.session(ada))
        assert status in (400, 413, 501), (headers, answer[:200])
    assert strong_site.raw("POST /api/next", own + "Content-Length: 2\r\n", b"{}", strong_site.session(ada))[0] == 200
    cookies = "".join(f"Cookie: {strong_site.cookie}={'a' * 4000}\r\n" for _ in range(10))
    assert strong_site.raw("GET /api/session", cookies)[0] == 401
    assert strong_site.raw("GET /api/session", f"Cookie: {strong_site.cookie}=\xff\x01\x80\r\n")[0] in (400, 401)


# The guideline ----------------------------------------------------------------------------------------------------


@dataclass
class Seen(HTMLParser):
    """Tags, attributes and comments of an HTML text."""

    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check_clean(html: str, pictures: int) -> Seen:
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert not seen.others
    plain = {"blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "hr", "li", "p", "pre", "strong", "ul"}
    assert seen.tags <= plain | {"a", "img", "ol", "table", "tbody", "td", "th", "thead", "tr"}
    for tag, name, value in seen.attributes:
        allowed = {("a", "href"), ("a", "rel"), ("img", "src"), ("img", "alt"), ("ol", "start")}
        assert (tag, name) in allowed | {("a", "title"), ("img", "title")}
        if name == "href":
            scheme = re.match(r"\s*([a-zA-Z][\w+.-]*):", value)
            assert scheme is None or scheme[1].lower() in ("http", "https", "mailto"), value
        if name == "src":
            assert re.fullmatch(r"/api/guideline/\d+", value)
            assert int(value.rsplit("/", 1)[1]) < pictures
    return seen


HOSTILE_MARKDOWN = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>1</script></svg>",
    "<style>@import 'http://evil.example'</style>",
    "<iframe src=//evil.example></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<!-- <script> --><!DOCTYPE x><?php x ?><![CDATA[ <b> ]]>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](vbscript:x) [y](data:text/html;base64,PHNjcmlwdD4=) [z](file:///etc/passwd)",
    "<javascript:alert(1)> <data:text/html,x>",
    "[x]: javascript:alert(1)\n\n[x]",
    '[x](http://a.example "onmouseover=alert(1)")',
    '[x](http://a.example/"onmouseover="alert(1))',
    "`<script>` ```\n<script>\n```",
    '```"><script>\n<script>\n```',
    "| a |\n|:-:|\n| <script> |",
    "1000000000000. x",
    "<math><mtext></table></math><mglyph><style><img src=x onerror=alert(1)>",
    "> " * 500 + "<script>",
    "[" * 5000,
    "![" * 2000 + "<script>" + "](" * 10,
    "*" * 5000 + "a" + "_" * 5000,
    "\x00<script\x00>alert(1)</script>",
    "\u202e<b>x",
    "&lt;script&gt;&#x3c;script&#62;",
    "x\n===\n\n###### six\n",
]


@pytest.mark.parametrize("text", HOSTILE_MARKDOWN, ids=lambda text: repr(text[:30]))
def test_hostile_guidelines_become_harmless(tmp_path: Path, text: str) -> None:
    path = tmp_path / "g.md"
    path.write_text(text, encoding="utf-8")
    found = read_guideline(path)
    check_clean(found.html, 0)
    assert found.pictures == ()


HOSTILE_PICTURES = [
    "../secret.png",
    "%2e%2e/secret.png",
    "..%2fsecret.png",
    "below/../../secret.png",
    "{folder}/secret.png",
    "/etc/passwd",
    "http://evil.example/x.png",
    "HTTP://evil.example/x.png",
    "//evil.example/x.png",
    "https:x.png",
    "link.png",
    "below",
    "nothing.png",
    "a%00.png",
    "//[",
    "a" * 5000 + ".png",
    "%ff.png",
    "loop.png",
    "",
    "data:image/png;base64,iVBORw0KGgo=",
    "~/x.png",
]


@pytest.mark.parametrize("source", HOSTILE_PICTURES, ids=lambda source: source[:40])
def test_pictures_from_elsewhere_are_one_clear_sentence(tmp_path: Path, source: str) -> None:
    from PIL import Image

    folder = tmp_path / "guideline"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    path = folder / "g.md"
    path.write_text(f"Before ![a]({source.format(folder=tmp_path)}) after", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"^The guideline '.*g\.md' shows '") as error:
        read_guideline(path)
    assert "\n" not in error.value.message


def test_pictures_that_browsers_never_load(tmp_path: Path) -> None:
    """What the Markdown parser takes for no picture stays text, and what is no picture file is one sentence."""
    path = tmp_path / "g.md"
    path.write_text("![a](javascript:x) ![b](data:image/svg+xml;base64,PHN2Zz4=) ![c](file:///etc/passwd)", "utf-8")
    assert "img" not in check_clean(read_guideline(path).html, 0).tags
    (tmp_path / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    (tmp_path / "x.png").write_text("<script>alert(1)</script>")
    for name in ("x.svg", "x.png"):
        path.write_text(f"![a]({name})", encoding="utf-8")
        with pytest.raises(GoldeyeError, match=rf"{name}"):
            read_guideline(path)


def test_pictures_beside_and_below(tmp_path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("place", "secret_name")
    (tmp_path / "below").mkdir()
    for name in ("a b.png", "below/c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, pnginfo=notes)
    path = tmp_path / "g.md"
    path.write_text("![<b> \" onerror=x](a%20b.png 'title') ![in ![out](below/c.png)](below/c.png)", encoding="utf-8")
    found = read_guideline(path)
    seen = check_clean(found.html, len(found.pictures))
    assert "img" in seen.tags
    assert all(picture.startswith(b"\x89PNG") and b"secret_name" not in picture for picture in found.pictures)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [*HOSTILE_MARKDOWN[:20], *"<>&\"'`[]()!*_|#-:\n ", "![a](x.png)", "javascript:", "onerror=", "a", "-->"]
        ),
        max_size=12,
    ).map("".join)
)
def test_any_markdown_becomes_harmless(text: str) -> None:
    found = render(text, lambda source: b"picture")
    check_clean(found.html, len(found.pictures))


@pytest.mark.parametrize("kind", ["label", "pair", "rating"])
def test_the_default_guidelines(kind: str) -> None:
    found = default_guideline(kind)
    seen = check_clean(found.html, len(found.pictures))
    assert len(found.pictures) >= 5
    assert [value for _, name, value in seen.attributes if name == "src"] == [
        f"/api/guideline/{n}" for n in range(len(found.pictures))
    ]
    assert all(value for _, name, value in seen.attributes if name == "alt")
    assert "&lt;" not in found.html  # no tag was lost on the way
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures)
    assert len(found.html) <= guideline.TEXT_BYTES


# Gold items -------------------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """A value without what differs by chance."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items() if key != "progress"}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, str):
        return re.sub(r"[\w-]{24}", "ID", re.sub(r"client-\d+", "client", value))
    return value


def test_nothing_tells_gold_items_and_repetitions(tmp_path: Path) -> None:
    """All that is asked of a group is answered alike, whatever the group is for."""
    store = Store(tmp_path / "a.sqlite")
    store._secret = bytes([1] * 32)  # the same turns each time
    for n in range(4):
        store.set_gold(f"sensitive/group-{n}", "gold", {"01": "Positive", "02": "Negative"}, "secret_name note")
    choice = AnnotationSettings(votes=3, gold_rate=0.2, repeat_rate=0.2)
    seen: dict[str, list[tuple[str, Any, frozenset[str]]]] = {}
    with running_site(tmp_path, store, groups=18, settings=choice, pace=1e6) as site:
        for person, skips in (("Ada", False), ("Bo", True)):
            api = site.person(person)
            turn = 0
            while not (work := (answer := api.http.post("/api/next", json={})).json())["finished"]:
                turn += 1
                id = work["assignment"]
                steps = [("next", answer), ("again", api.http.post("/api/next", json={}))]
                steps += [
                    ("picture", api.http.get(work["candidates"][0])),
                    ("lr", api.http.get(f"/api/picture/{id}/lr")),
                ]
                given = {"client_id": f"client-{next(IDS)}", "assignment": id, "active_ms": 9}
                if skips and turn % 2:
                    steps.append(("skip", api.http.post("/api/skip", json=given | {"reason": "because"})))
                else:
                    steps += [(f"vote {n}", api.vote(work, n, "Similar")) for n in range(4)]
                    steps += [
                        ("position", api.vote(work, 4, "Similar")),
                        ("label", api.vote(work, 0, "Preferred")),
                        ("changed", api.vote(work, 0, "Negative")),
                        ("undone", api.vote(work, 0, None)),
                        ("done", api.vote(work, 0, "Positive")),
                    ]
                steps += [
                    ("feedback", api.http.post("/api/feedback", json={"assignment": id})),
                    ("previous", api.http.post("/api/previous", json={})),
                ]
                kind = next(row.kind for row in store.assignments() if row.id == id)
                for name, got in steps:
                    body = got.json() if "json" in got.headers["content-type"] else got.content[:8]
                    told = (
                        f"{name} {skips}",
                        (got.status_code, json.dumps(shape(body), default=str)),
                        frozenset(got.headers),
                    )
                    seen.setdefault(kind, []).append(told)
    assert set(seen) == {"normal", "gold", "repeat"}
    told = {kind: set(entries) for kind, entries in seen.items()}
    for kind in ("gold", "repeat"):
        assert told[kind] <= told["normal"]
        assert {entry[0] for entry in told[kind]} >= {"next False", "done False", "next True", "skip True"}
    for kind in seen:
        assert "secret_name" not in str(seen[kind])
        assert "gold" not in str(seen[kind])
        assert "repeat" not in str(seen[kind])


@pytest.mark.parametrize(
    ("gold_rate", "repeat_rate", "quota"), [(0.15, 0.0, None), (0.2, 0.2, None), (0.2, 0.0, 15), (0.2, 0.2, 100)]
)
def test_progress_does_not_tell_gold_items(
    tmp_path: Path, gold_rate: float, repeat_rate: float, quota: int | None
) -> None:
    """For somebody who works alone, the number of all groups never changes as a gold item is handed out."""
    store = Store(tmp_path / "a.sqlite")
    groups = [GroupPictures(f"g{n:02}", None, {"01": Path()}) for n in range(36)]
    for n in range(6):
        store.set_gold(f"g{n:02}", "gold", {"01": "Positive"})
    choice = AnnotationSettings(gold_rate=gold_rate, repeat_rate=repeat_rate, quota=quota)
    assigner = Assigner(store, groups, choice)
    store.invite("Ada")
    shown: list[tuple[str, int]] = []
    for turn in range(100):
        work, share = assigner.claim(1)
        if work is None:
            break
        shown.append((work.kind, share.total))
        given = {"client_id": f"client-{next(IDS):04}", "active_ms": 1}
        if turn % 7 == 5:
            assigner.skip(1, work.id, "because", **given)
        else:
            assigner.answer(1, work.id, 0, "Similar", **given)
    assert {kind for kind, _ in shown} >= {"normal", "gold"}
    changes = [(kind, total - before) for (_, before), (kind, total) in itertools.pairwise(shown)]
    after_answers = [change for turn, change in enumerate(changes) if turn % 7 != 5 and change[0] != "normal"]
    assert {change for _, change in after_answers} == {0}
