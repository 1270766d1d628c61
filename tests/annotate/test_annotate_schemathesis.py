"""The interface against its own OpenAPI description, and in any order of steps: no error of the server's, ever."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
import sqlalchemy as sa
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from schemathesis.generation import GenerationMode
from test_annotate_api import make_groups

from goldeye.annotate import guard
from goldeye.annotate.app import create_app
from goldeye.annotate.schema import assignment, item, vote
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store, utc_now

BASE = "http://localhost"
OWN = {"X-Goldeye": "1"}
VOTES = 2
FAST = 1e9  # requests a second that are let through


class Desk:
    """An application in this process, with people signed in to it and real things to be asked about."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.store = Store(database or folder / "a.sqlite")
        choice = AnnotationSettings(votes=VOTES, gold_rate=0.3, repeat_rate=0.2, lease_minutes=10)
        self.app = create_app(make_groups(folder, 6, 2), self.store, settings=choice)
        self.site = self.app.state.site
        self.http: dict[str, TestClient] = {}
        self.sessions: dict[str, str] = {}
        for name, role in (("Eve", "owner"), ("Ada", "annotator"), ("Bo", "annotator"), ("Cy", "annotator")):
            self.store.invite(name, role)
            self.http[name] = TestClient(self.app, BASE, headers=OWN, raise_server_exceptions=False)
            self.sign_in(name)

    def sign_in(self, name: str) -> None:
        answer = self.http[name].post("/api/session", json={"token": self.store.invite(name, renew=True)})
        assert answer.status_code == 200, answer.text
        self.sessions[name] = self.http[name].cookies[self.site.cookie]

    def session(self, name: str) -> str:
        """A session that is valid, whatever was done to the person before."""
        if self.store.session_person(self.sessions[name]) is None:
            self.sign_in(name)
        return self.sessions[name]

    def check(self) -> None:
        """Everything in the store agrees, and no group has more votes that count than were asked for."""
        c = assignment.c
        with self.store.read() as connection:
            rows = connection.execute(sa.select(c.id, c.group, c.person, c.kind, c.status, c.number)).all()
            items = {row.id: row for row in connection.execute(sa.select(item))}
            ids = connection.execute(sa.select(vote.c.client_id)).scalars().all()
        normal = [row for row in rows if row.kind == "normal"]
        complete = Counter(row.group for row in normal if row.status == "complete")
        held = Counter(row.group for row in normal if row.status in ("complete", "leased"))
        for id, row in items.items():
            assert complete[id] <= VOTES
            assert held[id] <= VOTES
            assert (row.complete, row.taken) == (complete[id], held[id]), (id, row)
        assert not [twice for twice, n in Counter((row.group, row.person) for row in normal).items() if n > 1]
        leased = Counter(row.person for row in rows if row.status == "leased" and row.kind != "qualification")
        assert max(leased.values(), default=0) <= 3  # two, and one that was given back and answered again
        assert len(set(ids)) == len(ids)
        counted = Counter((one.group, one.candidate) for one in self.store.counted_votes())
        assert max(counted.values(), default=0) <= VOTES
        for one in self.store.counted_votes():
            assert one.label in self.site.task.labels


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_PER_SECOND", FAST)
    monkeypatch.setattr(guard, "REQUESTS_AT_ONCE", FAST)
    monkeypatch.setattr("goldeye.annotate.app.FAILED_SIGN_INS_AT_ONCE", FAST)


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    database = request.getfixturevalue("postgresql_database") if request.param == "postgresql" else None
    desk = Desk(tmp_path, database)
    yield desk
    desk.store.close()


# Against the description ------------------------------------------------------------------------------------------

NUMBERS = itertools.count()


def put_known_values(desk: Desk, case: schemathesis.Case, draw: st.DataObject) -> None:
    """What is really there in place of what was made up, more often than not, so that requests get past the door."""
    if not draw.draw(st.integers(0, 3), label="with what is there"):
        return
    eve = desk.site.assigner
    eve.claim(1)
    assignments = [row.id for row in desk.store.assignments() if row.person == "Eve"]
    values: dict[str, list[Any]] = {
        "assignment": assignments,
        "after": [*assignments, None],
        "before": [*assignments, None],
        "group": sorted(eve.groups),
        "id": sorted(eve.groups),
        "expected": [{"01": "Positive"}, {"02": "Negative", "01": "Similar"}],
        "kind": ["gold", "qualification", None, None],
        "position": [0, 1],
        "label": ["Positive", "Negative", None],
        "client_id": [f"client-{next(NUMBERS):04}", f"client-{next(NUMBERS):04}", "client-again"],
        "slot": ["01", "original", "lr"],
    }
    if case.path.startswith("/api/owner/people/"):
        values["number"] = [person.id for person in desk.store.people()]
    elif case.path.startswith("/api/picture/"):
        values["number"] = ["0", "1", "2", "lr"]
    for place in (case.path_parameters, case.query, case.body):
        for key in sorted(values.keys() & place.keys()) if isinstance(place, dict) else ():
            if key != "before" or case.path != "/api/owner/log":
                place[key] = draw.draw(st.sampled_from(values[key]), label=key)


def call_everything(desk: Desk, examples: int) -> Counter[int]:
    """Each operation with right and with wrong requests, as an owner; the statuses that came."""
    schema = schemathesis.openapi.from_dict(desk.app.openapi())
    schema.app = desk.app
    statuses: Counter[int] = Counter()

    for found in schema.get_all_operations():
        operation = found.ok()
        right, wrong = (operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=right | wrong, draw=st.data())
        def call(case: schemathesis.Case, draw: st.DataObject) -> None:
            put_known_values(desk, case, draw)
            answer = case.call(
                base_url=BASE,
                headers=OWN | {"Cookie": f"{desk.site.cookie}={desk.session('Eve')}", "Host": "localhost"},
            )
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (case.method, case.formatted_path, case.query, case.body, answer.text)
            assert "content-security-policy" in {name.lower() for name in answer.headers}
            assert answer.status_code < 400 or set(answer.json()["error"]) == {"code", "message"}
            assert answer.status_code not in (401, 403, 429) or case.path == "/api/session", answer.text

        call()
        desk.check()
    return statuses


def test_no_operation_ends_in_an_error_of_the_servers(desk: Desk) -> None:
    statuses = call_everything(desk, 15)
    assert statuses[200] > 50  # the requests went through to what they ask for
    assert statuses[422] > 50


@pytest.mark.slow
def test_no_operation_ends_in_an_error_of_the_servers_at_length(desk: Desk) -> None:
    call_everything(desk, 100)


def test_without_a_session_that_alone_is_told(desk: Desk) -> None:
    """Whether the request itself is right or wrong; only the one that begins a session is looked at."""
    schema = schemathesis.openapi.from_dict(desk.app.openapi())
    schema.app = desk.app
    nobody = TestClient(desk.app, BASE, headers=OWN, raise_server_exceptions=False)

    for found in schema.get_all_operations():
        operation = found.ok()
        if (operation.method, operation.path) == ("post", "/api/session"):
            continue
        right, wrong = (operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

        @settings(
            max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=right | wrong)
        def call(case: schemathesis.Case) -> None:
            answer = case.call(base_url=BASE, headers=OWN | {"Cookie": "", "Host": "localhost"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_session"), answer.text

        call()
    for path in ("/api/vote", "/api/next", "/api/previous", "/api/skip", "/api/feedback", "/api/owner/gold"):
        for body in (b"{", b"[]", b"\xff\x00", b'{"position": -1}'):
            assert nobody.post(path, content=body, headers={"Content-Type": "application/json"}).status_code == 401
    assert nobody.get("/api/picture/a%20b/x").status_code == 401
    assert nobody.post("/api/session", content=b"{").status_code == 422
    assert [nobody.get(path).status_code for path in ("/api/vote", "/nowhere", "/static/none.js")] == [405, 404, 404]


# In any order -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["Ada", "Bo", "Cy", "Eve"])
LABELS = st.sampled_from(["Positive", "Similar", "Negative"])
GROUPS = st.integers(0, 5).map("sensitive/group-{}".format)


class Steps(RuleBasedStateMachine):
    """People who do things in any order, while time goes by and an owner interferes."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory(prefix="goldeye-test-")
        self.desk = Desk(Path(self.folder.name))
        self.now = utc_now()
        self.desk.site.assigner.clock = lambda: self.now
        self.given: list[tuple[str, str]] = []  # (person, assignment)
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.store.close()
            self.folder.cleanup()

    def ask(self, name: str, path: str, body: dict[str, Any] | None = None) -> Any:
        self.desk.session(name)
        answer = self.desk.http[name].get(path) if body is None else self.desk.http[name].post(path, json=body)
        assert answer.status_code in (200, 404, 409, 422), (path, body, answer.text)
        if answer.status_code == 200:
            return answer.json()
        return None

    def claimed(self, name: str, after: str | None = None) -> dict[str, Any]:
        work: dict[str, Any] = self.ask(name, "/api/next", {"after": after})
        if not work["finished"] and (name, work["assignment"]) not in self.given:
            self.given.append((name, work["assignment"]))
        return work

    @rule(name=NAMES, ahead=st.booleans())
    def claim(self, name: str, ahead: bool) -> None:
        own = [id for who, id in self.given if who == name]
        self.claimed(name, own[-1] if ahead and own else None)

    @rule(names=st.lists(NAMES, min_size=1, max_size=4), labels=st.lists(LABELS | st.none(), min_size=1, max_size=8))
    def work(self, names: list[str], labels: list[str | None]) -> None:
        """Several people each finish the group that they have open, or skip it."""
        said = itertools.cycle(labels)
        for name in names:
            work = self.claimed(name)
            if work["finished"]:
                continue
            for place in (0, 1):
                label = next(said)
                if label is None:
                    self.leave_out(name, work["assignment"])
                else:
                    self.vote(name, work["assignment"], place, label)

    def vote(self, name: str, id: str, place: int, label: str | None) -> None:
        body = {
            "client_id": f"client-{next(NUMBERS):04}",
            "assignment": id,
            "position": place,
            "label": label,
            "active_ms": 5,
        }
        self.sent.append((name, "/api/vote", body))
        self.ask(name, "/api/vote", body)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 30), whole=st.booleans(), position=st.integers(0, 1), label=LABELS | st.none())
    def answer(self, which: int, whole: bool, position: int, label: str | None) -> None:
        name, id = self.given[-1 - which % len(self.given)]
        for place in (0, 1) if whole else (position,):
            self.vote(name, id, place, label)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 30))
    def skip(self, which: int) -> None:
        self.leave_out(*self.given[-1 - which % len(self.given)])

    def leave_out(self, name: str, id: str) -> None:
        body = {"client_id": f"client-{next(NUMBERS):04}", "assignment": id, "reason": "because", "active_ms": 5}
        self.sent.append((name, "/api/skip", body))
        self.ask(name, "/api/skip", body)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 30))
    def send_again(self, which: int) -> None:
        """A late copy of something sent before changes nothing, and is no conflict."""
        name, path, body = self.sent[-1 - which % len(self.sent)]
        before = self.stored()
        self.desk.session(name)
        answer = self.desk.http[name].post(path, json=body)
        if body["client_id"] in before:
            assert self.stored() == before
            assert answer.status_code == 200 or answer.json()["error"]["code"] == "closed", answer.text

    def stored(self) -> list[str]:
        with self.desk.store.read() as connection:
            return list(connection.execute(sa.select(vote.c.client_id).order_by(vote.c.id)).scalars())

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 30), others=st.permutations(["Ada", "Bo", "Cy", "Eve"]), label=LABELS)
    def come_back_late(self, which: int, others: list[str], label: str) -> None:
        """Somebody answers a group after their lease is over and others have gone on."""
        name, id = self.given[-1 - which % len(self.given)]
        self.now += timedelta(minutes=11)
        for other in others:
            work = self.claimed(other) if other != name else {"finished": True}
            for place in range(0 if work["finished"] else 2):
                self.vote(other, work["assignment"], place, label)
        for place in (0, 1):
            self.vote(name, id, place, label)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 30))
    def feedback(self, which: int) -> None:
        name, id = self.given[-1 - which % len(self.given)]
        self.ask(name, "/api/feedback", {"assignment": id})

    @rule(minutes=st.sampled_from([1, 9, 11, 60]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: len(self.given) > 3)
    @rule(group=GROUPS, kind=st.sampled_from(["gold", "qualification", None, None]))
    def gold(self, group: str, kind: str | None) -> None:
        body = {"group": group, "kind": kind, "expected": {"01": "Positive"} if kind else {}}
        assert self.ask("Eve", "/api/owner/gold", body) is not None

    @precondition(lambda self: len(self.given) > 3)
    @rule(
        name=st.sampled_from(["Ada", "Bo"]),
        first=st.sampled_from(["pause", "renew", "revoke", "requalify", "quota"]),
        then=st.sampled_from(["resume", "pass", "quota"]),
    )
    def change(self, name: str, first: str, then: str) -> None:
        number = next(one.id for one in self.desk.store.people() if one.name == name)
        for action, quota in ((first, 1), (then, None)):
            body = {"action": action, "quota": quota if action == "quota" else None}
            assert self.ask("Eve", f"/api/owner/people/{number}", body) is not None

    @rule()
    def look(self) -> None:
        for path in ("/api/owner/overview", "/api/owner/groups?only=begun", "/api/owner/log"):
            assert self.ask("Eve", path) is not None

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "desk"):
            self.desk.check()


def run_steps(examples: int, steps: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Steps, settings=chosen)


def test_steps_in_any_order() -> None:
    run_steps(8, 25)


@pytest.mark.slow
def test_steps_in_any_order_at_length() -> None:
    run_steps(60, 60)
