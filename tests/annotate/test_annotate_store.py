"""The store: its file, people and their links, and which answers count."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from goldeye.annotate.assign import Assigner, GroupPictures
from goldeye.annotate.server import person_link
from goldeye.annotate.store import Store, utc_now
from goldeye.annotate.votes import CountedVote
from goldeye.errors import InvalidInput


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.sqlite"


def test_opens_again_with_the_same_people_and_secret(path: Path) -> None:
    first = Store(path)
    first.invite("Ada", "owner")
    instance, order = first.instance, first.keyed_hash("order", 1)
    first.close()
    again = Store(f"sqlite:///{path}")
    assert [(p.name, p.role, p.revoked) for p in again.people()] == [("Ada", "owner", False)]
    assert (again.instance, again.keyed_hash("order", 1)) == (instance, order)
    assert Store(path.with_name("other.sqlite")).instance != instance


def test_schema_is_the_designs(path: Path) -> None:
    Store(path)
    with sqlite3.connect(path) as raw:
        columns = {
            name: [row[1] for row in raw.execute(f"PRAGMA table_info('{name}')")] for name in ("assignment", "vote")
        }
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("2",)
    assert {"id", "group", "person", "kind", "order", "leased_until", "status"} <= set(columns["assignment"])
    assert columns["vote"] == ["id", "client_id", "assignment", "candidate", "label", "active_ms", "server_time"]


def test_foreign_keys_and_words_are_enforced(path: Path) -> None:
    store = Store(path)
    columns = "client_id, assignment, candidate, label, active_ms, server_time"
    row = f"INSERT INTO vote ({columns}) VALUES ('c', 'x', '01', {{}}, 1, 0)"
    with pytest.raises(Exception, match="FOREIGN KEY"), store.write() as connection:
        connection.exec_driver_sql(row.format("'Positive'"))
    with pytest.raises(Exception, match="known_label"), store.write() as connection:
        connection.exec_driver_sql(row.format("'Great'"))


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("UPDATE alembic_version SET version_num = '7'", "has version 7"),
        ("DELETE FROM alembic_version", "has version None"),
        ("DROP TABLE vote", "not one of Goldeye's"),
    ],
)
def test_unknown_databases_are_refused(path: Path, sql: str, sentence: str) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(sql)
    with pytest.raises(InvalidInput, match=sentence):
        Store(path)


def test_what_is_no_database_is_refused(tmp_path: Path, path: Path) -> None:
    path.write_text("these are not the votes you are looking for" * 100)
    with pytest.raises(InvalidInput, match=r"annotations\.sqlite' cannot be opened: file is not a database"):
        Store(path)
    with pytest.raises(InvalidInput, match=r"folder .*nowhere' of the annotation database does not exist"):
        Store(tmp_path / "nowhere" / "a.sqlite")
    with pytest.raises(InvalidInput, match=r"mysql://me:\*\*\*@host/db' is not a SQLite file"):
        Store("mysql://me:secret@host/db")


def test_a_link_is_shown_once_and_kept_as_a_hash(path: Path) -> None:
    store = Store(path)
    token = store.invite("Ada")
    assert len(token) >= 43
    started = store.start_session(token)
    assert started is not None
    session, ada = started
    assert store.session_person(session) == ada
    for text in path.parent.glob("annotations.sqlite*"):
        assert token.encode() not in text.read_bytes()
        assert session.encode() not in text.read_bytes()
    with pytest.raises(InvalidInput, match="'Ada' has been invited already") as error:
        store.invite("Ada")
    assert "--renew" in str(error.value.hint)
    assert store.start_session(token + "x") is None
    assert store.session_person("x") is None


def test_renewed_and_revoked_links(path: Path) -> None:
    store = Store(path)
    old = store.invite("Ada")
    session = store.start_session(old)
    assert session is not None
    new = store.invite("Ada", renew=True)
    assert store.start_session(old) is None
    assert store.session_person(session[0]) is None
    second = store.start_session(new)
    assert second is not None
    assert second[1].id == session[1].id
    store.revoke("Ada")
    assert store.start_session(new) is None
    assert store.session_person(second[0]) is None
    assert store.people()[0].revoked
    assert store.start_session(store.invite("Ada", renew=True)) is not None
    with pytest.raises(InvalidInput, match=r"Unknown person 'Adda'\. Did you mean 'Ada'"):
        store.revoke("Adda")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_bad_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 100 printable"):
        Store(path).invite(name)


def test_unknown_role_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"Unknown role 'anotator'\. Did you mean 'annotator'"):
        Store(path).invite("Ada", "anotator")


def test_counted_votes_are_the_last_answers_of_complete_groups(path: Path) -> None:
    store = Store(path)
    for name in ("Ada", "Bo"):
        store.invite(name)
    groups = [GroupPictures("g", Path("o.png"), {"01": Path("a.png"), "02": Path("b.png")})]
    assigner = Assigner(store, groups)
    begun = utc_now()
    ada, _ = assigner.claim(1)
    bo, _ = assigner.claim(2)
    assert ada is not None
    assert bo is not None

    def answer(person: int, candidate: str, label: str | None, ms: int, number: int) -> None:
        work = ada if person == 1 else bo
        position = work.order.index(candidate)
        assigner.answer(person, work.id, position, label, client_id=f"client-{person}-{number}", active_ms=ms)

    answer(1, "01", "Negative", 1500, 1)
    answer(1, "01", None, 500, 2)
    answer(1, "01", "Positive", 1000, 3)
    assert store.counted_votes() == []
    answer(1, "02", "Similar", 2000, 4)
    answer(2, "01", "Negative", 9000, 1)
    counted = store.counted_votes()
    spent = ("Ada", 5.0, counted[0].started, counted[0].ended, True)
    assert counted == [CountedVote("g", "01", "Positive", *spent), CountedVote("g", "02", "Similar", *spent)]
    assert begun <= counted[0].started < counted[0].ended <= utc_now()
    progress = store.progress()
    assert (progress.by_group, progress.by_person, progress.answers) == ({"g": 1}, {"Ada": 1}, 5)
    answer(1, "02", None, 100, 5)  # taken back: the group is open again
    assert store.counted_votes() == []


def test_links_and_default_path(tmp_path: Path) -> None:
    assert person_link("http://127.0.0.1:8000/", "a-b_c") == "http://127.0.0.1:8000/#token=a-b_c"
