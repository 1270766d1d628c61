"""People forgotten and pseudonyms, the log, copies, older stores, and where a store may lie."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from world import World, some_groups

from goldeye.annotate.assign import Assigner
from goldeye.annotate.database import Database, refuse_network
from goldeye.annotate.run import backup
from goldeye.annotate.schema import tables
from goldeye.annotate.store import Store
from goldeye.errors import InvalidInput


def test_forgetting_keeps_the_votes_under_the_pseudonym(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2)
    world.label(1, world.claim(1))
    world.store.invite("Pia Unique")
    world.store.forget("Pia Unique")
    pseudonym = world.store.people()[0].pseudonym
    token = world.store.invite("p1", renew=True)
    session = world.store.start_session(token)
    assert session is not None
    assert world.store.forget("p1", actor="p1") == pseudonym
    assert world.store.session_person(session[0]) is None
    assert world.store.start_session(token) is None
    assert {each.person for each in world.store.counted_votes()} == {pseudonym}
    person = world.store.people()[0]
    assert (person.name, person.pseudonym, person.state) == (pseudonym, pseudonym, "forgotten")
    assert not any("p1" in (entry.actor, *entry.detail.split(", ")) for entry in world.store.log())
    for file in tmp_path.glob("a.sqlite*"):
        assert b"Pia Unique" not in file.read_bytes()
    world.store.close()
    assert b"Pia Unique" not in (tmp_path / "a.sqlite").read_bytes()
    again = Store(world.place)
    with pytest.raises(InvalidInput, match="Unknown person 'p1'"):
        again.revoke("p1")
    again.invite("p1")  # somebody else of that name
    assert len({one.pseudonym for one in again.people()}) == 4


def test_the_log_names_what_was_done_by_whom_to_whom(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.invite("Ada", actor="Olga")
    store.pause("Ada", actor="Olga")
    store.set_quota("Ada", 7, actor="Olga")
    store.revoke("Ada")
    told = [(entry.actor, entry.action, entry.detail) for entry in reversed(store.log())]
    assert told == [
        ("Olga", "invited", "Ada, annotator"),
        ("Olga", "paused", "Ada"),
        ("Olga", "set the quota", "Ada, 7"),
        ("command line", "revoked", "Ada"),
    ]
    newest = store.log(most=2)
    assert [entry.action for entry in newest] == ["revoked", "set the quota"]
    assert [entry.action for entry in store.log(newest[-1].id)] == ["paused", "invited"]


def test_a_copy_is_whole_while_answers_come_in(tmp_path: Path) -> None:
    dataset = tmp_path / "nowhere"  # not looked at, since the store is named
    world = World(tmp_path, groups=60, people=1)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set() and (given := world.assigner.claim(1)[0]) is not None:
            world.label(1, given)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert backup(dataset, str(world.place), tmp_path / "copy.sqlite") >= 0
    finally:
        stop.set()
        thread.join()
    copy = Store(tmp_path / "copy.sqlite", read_only=True)
    assert [one.name for one in copy.people()] == ["p1"]
    votes = copy.counted_votes()
    assert set(votes) <= set(world.store.counted_votes())
    assert len(votes) % 4 == 0
    assert not list(tmp_path.glob("copy.sqlite-*"))
    with pytest.raises(InvalidInput, match="there already"):
        backup(dataset, str(world.place), tmp_path / "copy.sqlite")
    for place, sentence in [
        (str(tmp_path / "none.sqlite"), "There is no annotation database"),
        ("postgresql+psycopg://me@host/db", "Only a SQLite store"),
    ]:
        with pytest.raises(InvalidInput, match=sentence):
            backup(dataset, place, tmp_path / "other.sqlite")


# --- older stores -----------------------------------------------------------------------------------------------------

FIRST = """
CREATE TABLE meta (key VARCHAR NOT NULL PRIMARY KEY, value VARCHAR);
CREATE TABLE person (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR NOT NULL UNIQUE, token_hash VARCHAR NOT NULL UNIQUE,
  role VARCHAR NOT NULL, created DATETIME NOT NULL, revoked DATETIME,
  CONSTRAINT known_role CHECK (role IN ('annotator', 'owner')));
CREATE TABLE session (id_hash VARCHAR NOT NULL PRIMARY KEY, person INTEGER NOT NULL REFERENCES person (id),
  expires DATETIME NOT NULL);
CREATE INDEX ix_session_person ON session (person);
CREATE TABLE assignment (id VARCHAR NOT NULL PRIMARY KEY, "group" VARCHAR NOT NULL,
  person INTEGER NOT NULL REFERENCES person (id), kind VARCHAR NOT NULL, "order" JSON NOT NULL,
  created DATETIME NOT NULL, leased_until DATETIME NOT NULL, status VARCHAR NOT NULL,
  CONSTRAINT known_kind CHECK (kind IN ('normal', 'gold', 'repeat', 'qualification')),
  CONSTRAINT known_status CHECK (status IN ('leased', 'complete', 'expired', 'surplus')));
CREATE INDEX ix_assignment_person ON assignment (person);
CREATE INDEX assignment_group ON assignment ("group", kind, status);
CREATE UNIQUE INDEX nobody_twice ON assignment ("group", person) WHERE kind = 'normal';
CREATE TABLE vote (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, client_id VARCHAR NOT NULL UNIQUE,
  assignment VARCHAR NOT NULL REFERENCES assignment (id), candidate VARCHAR NOT NULL, label VARCHAR,
  active_ms INTEGER NOT NULL, server_time DATETIME NOT NULL,
  CONSTRAINT known_label CHECK (label IN ('Positive', 'Similar', 'Negative')));
CREATE INDEX vote_answer ON vote (assignment, candidate, id);
INSERT INTO meta VALUES ('schema', '1'), ('secret', '00ff');
INSERT INTO person VALUES (1, 'Ada', 'h1', 'annotator', '2026-01-01 00:00:00', NULL),
  (2, 'Bo', 'h2', 'annotator', '2026-01-01 00:00:00', NULL);
INSERT INTO assignment VALUES
  ('a1', 'g0', 1, 'normal', '["02", "01", "04", "03"]', '2026-01-02 00:00:00', '2026-01-02 00:30:00', 'complete'),
  ('a2', 'g1', 1, 'normal', '["01", "02", "03", "04"]', '2026-01-03 00:00:00', '2099-01-03 00:30:00', 'leased');
INSERT INTO vote VALUES (5, 'client-00', 'a1', '01', 'Negative', 700, '2026-01-02 00:01:00'),
  (6, 'client-01', 'a1', '01', 'Positive', 900, '2026-01-02 00:01:01'),
  (7, 'client-02', 'a1', '02', 'Similar', 900, '2026-01-02 00:01:02'),
  (8, 'client-03', 'a1', '03', 'Positive', 900, '2026-01-02 00:01:03'),
  (9, 'client-04', 'a1', '04', 'Positive', 900, '2026-01-02 00:01:04');
"""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store as the first version of the application made it."""
    path = tmp_path / "annotations.sqlite"
    with sqlite3.connect(path) as raw:
        raw.executescript(FIRST)
        raw.execute("PRAGMA journal_mode=WAL")
    raw.close()
    return path


def test_an_older_store_is_brought_up_to_date_with_everything_in_it(first: Path) -> None:
    store = Store(first)
    votes = {each.candidate: (each.label, each.person, each.seconds) for each in store.counted_votes()}
    assert votes["01"] == ("Positive", "Ada", 4.3)
    assert [votes[key][0] for key in ("02", "03", "04")] == ["Similar", "Positive", "Positive"]
    assert [one.pseudonym for one in store.people()] == [
        f"p-{store.keyed_hash('person', name).hex()[:8]}" for name in ("Ada", "Bo")
    ]
    assigner = Assigner(store, some_groups(2))
    work, share = assigner.claim(1)
    assert work is not None
    assert (work.id, share.done, share.total) == ("a2", 1, 2)
    with store.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables)
        counts = connection.execute(sa.text("SELECT id, taken, complete FROM item ORDER BY id")).all()
    assert differences == []
    assert counts == [("g0", 1, 1), ("g1", 1, 0)]
    answer = assigner.answer(1, "a2", 0, "Positive", client_id="client-new", active_ms=1)
    assert answer.answers[0] == "Positive"
    with store.read() as connection:
        assert connection.execute(sa.text("SELECT max(id) FROM vote")).scalar_one() == 10  # ids go on growing
    store.close()
    assert Store(first).counted_votes() == store.counted_votes()


def test_an_older_store_is_read_without_being_changed(first: Path) -> None:
    before = first.read_bytes()
    store = Store(first, read_only=True)
    assert len(store.counted_votes()) == 4
    store.close()
    assert first.read_bytes() == before
    assert sorted(path.name for path in first.parent.iterdir()) == ["annotations.sqlite"]


def test_both_ways_to_a_store_end_at_the_same_tables(first: Path, tmp_path: Path, postgresql_database: str) -> None:
    """New and migrated stores on SQLite, and a new one on PostgreSQL, are as schema.py says."""
    indices: list[dict[str, str]] = []
    Store(first).close()
    for place in (first, tmp_path / "new.sqlite", postgresql_database):
        store = Store(place)
        with store.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), tables) == []
            if store.is_sqlite:  # the conditions of indices, too, which the comparison does not see
                made = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
                indices.append({name: " ".join(sql.split()) for name, sql in connection.execute(made)})
        store.close()
    assert {"item_open", "item_disputed", "assignment_lease", "nobody_twice"} <= indices[0].keys()
    assert {name: unquoted(sql) for name, sql in indices[0].items()} == {
        name: unquoted(sql) for name, sql in indices[1].items()
    }


def unquoted(sql: str) -> str:
    return sql.replace('"', "").replace("item.", "").replace("assignment.", "")


def test_the_steps_work_on_postgresql_too(postgresql_database: str) -> None:
    from goldeye.annotate.database import _alembic

    engine = sa.create_engine(postgresql_database)
    with engine.begin() as connection:
        _alembic(connection, "upgrade", "1")
        connection.execute(sa.text("INSERT INTO meta VALUES ('secret', '00ff')"))
        connection.execute(sa.text("INSERT INTO person VALUES (1, 'Ada', 'h', 'annotator', now())"))
    engine.dispose()
    store = Store(postgresql_database)
    assert [one.pseudonym for one in store.people()] == [f"p-{store.keyed_hash('person', 'Ada').hex()[:8]}"]
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables) == []
    store.close()


# --- where a store may lie --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fstype", "options", "refused"),
    [("nfs4", "rw", True), ("cifs", "rw", True), ("NTFS", "rw,remote", True), ("ext4", "rw", False)],
)
def test_sqlite_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fstype: str, options: str, refused: bool
) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="nfs4" if not refused else "ext4", opts="rw"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=fstype, opts=options),
    ]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounts)
    path = tmp_path / "below" / "a.sqlite"
    path.parent.mkdir()
    if not refused:
        refuse_network(path)
        Store(path).close()
        return
    with pytest.raises(InvalidInput, match=rf"network file system \({fstype}\).*--database"):
        Store(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/none", r"me:\*\*\*@127.0.0.1:1/none' cannot be opened"),
        ("oracle://me:secret@host/db", r"oracle://me:\*\*\*@host/db' is not a SQLite file"),
        ("postgresql+psycopg://me:secret@host:port/db", "URL cannot be read"),
    ],
)
def test_databases_that_cannot_be(url: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as error:
        Database(url)
    assert "secret" not in str(error.value)


def test_two_processes_make_a_new_store_at_once(postgresql_database: str, tmp_path: Path) -> None:
    for place in (postgresql_database, tmp_path / "a.sqlite"):
        gate, secrets = threading.Barrier(4), []

        def make(place: Path | str = place, gate: threading.Barrier = gate, found: list[str] = secrets) -> None:
            gate.wait()
            store = Store(place)
            found.append(store.instance)
            store.close()

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(secrets) == 4
        assert len(set(secrets)) == 1
