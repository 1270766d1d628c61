"""The store of people, assignments and votes: one SQLite file, written by any number of threads and processes.

Votes are append-only. The answer of a person about a candidate is the last row of (assignment, candidate), and taking
an answer back is a row without a label. All times are UTC.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from goldeye.errors import InvalidInput, unknown_name

SCHEMA_VERSION = "1"
LABELS = ("Positive", "Similar", "Negative")
ROLES = ("annotator", "owner")
KINDS = ("normal", "gold", "repeat", "qualification")
# leased: being answered until `leased_until`. complete: every candidate has a label and the votes count.
# expired: abandoned, its place went back. surplus: completed after its place was taken; kept, never counted.
STATUSES = ("leased", "complete", "expired", "surplus")
SESSION_LIFE = timedelta(days=30)


class UtcTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime in Python; SQLite has no time zones, so the zone is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def _one_of(column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.column(column).in_(words), name=f"known_{column}")


tables = sa.MetaData()
meta = sa.Table("meta", tables, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))
person = sa.Table(
    "person",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("token_hash", sa.String, nullable=False, unique=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("revoked", UtcTime),
    _one_of("role", ROLES),
)
session = sa.Table(
    "session",
    tables,
    sa.Column("id_hash", sa.String, primary_key=True),
    sa.Column("person", sa.ForeignKey("person.id"), nullable=False, index=True),
    sa.Column("expires", UtcTime, nullable=False),
)
assignment = sa.Table(
    "assignment",
    tables,
    sa.Column("id", sa.String, primary_key=True),  # random: the page's addresses are made of it
    sa.Column("group", sa.String, nullable=False),
    sa.Column("person", sa.ForeignKey("person.id"), nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),  # the candidates' keys in the order shown
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("leased_until", UtcTime, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    _one_of("kind", KINDS),
    _one_of("status", STATUSES),
)
sa.Index("assignment_group", assignment.c.group, assignment.c.kind, assignment.c.status)
_normal = assignment.c.kind == "normal"
sa.Index(
    "nobody_twice",
    assignment.c.group,
    assignment.c.person,
    unique=True,
    sqlite_where=_normal,
    postgresql_where=_normal,
)
vote = sa.Table(
    "vote",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("client_id", sa.String, nullable=False, unique=True),
    sa.Column("assignment", sa.ForeignKey("assignment.id"), nullable=False),
    sa.Column("candidate", sa.String, nullable=False),
    sa.Column("label", sa.String),
    sa.Column("active_ms", sa.Integer, nullable=False),
    sa.Column("server_time", UtcTime, nullable=False),
    _one_of("label", LABELS),
    sqlite_autoincrement=True,  # ids only grow, so that "the last row" is always the newest
)
sa.Index("vote_answer", vote.c.assignment, vote.c.candidate, vote.c.id)


@dataclass(frozen=True)
class Person:
    """Somebody with a personal link."""

    id: int
    name: str
    role: str
    revoked: bool


class CountedVote(NamedTuple):
    """A label that counts, or a surplus one. `seconds` is the active time that `person` spent on the whole group.

    `started` and `ended` (UTC): when the group was first shown to the person, and their last answer to it.
    """

    group: str
    candidate: str
    label: str
    person: str
    seconds: float
    started: datetime
    ended: datetime
    counted: bool = True


@dataclass(frozen=True)
class Progress:
    """How far the annotation is: complete normal assignments by group and by person, and all answers given."""

    by_group: dict[str, int]
    by_person: dict[str, int]
    answers: int


def utc_now() -> datetime:
    return datetime.now(UTC)


def _hash(token: str) -> str:
    # Tokens are 32 random bytes, so that a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()


class Store:
    """People and votes in `url_or_path`, a SQLite file (made when missing) or a `sqlite:///…` URL.

    `read_only` never makes or changes a file beside the database, so that it may lie where nothing can be written.
    Raises InvalidInput when the database cannot be opened, is not Goldeye's, or has an unknown version.
    """

    def __init__(self, url_or_path: str | Path, *, read_only: bool = False) -> None:
        text = str(url_or_path)
        self.url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
        if self.url.get_backend_name() != "sqlite" or self.url.database in (None, "", ":memory:"):
            raise InvalidInput(f"The annotation database '{self.url.render_as_string()}' is not a SQLite file.")
        self.path = Path(str(self.url.database))
        if not self.path.parent.is_dir():
            raise InvalidInput(f"The folder '{self.path.parent}' of the annotation database does not exist.")
        self._copy: TemporaryDirectory[str] | None = None
        self._engine = self._open_to_read() if read_only else sa.create_engine(self.url, connect_args={"timeout": 30})
        self._writer = self._engine.execution_options(write=True)
        sa.event.listen(self._engine, "connect", _set_up_reading if read_only else _set_up_connection)
        sa.event.listen(self._engine, "begin", _begin)
        try:
            with self.read() if read_only else self.write() as connection:
                self._check_schema(connection, make=not read_only)
        except InvalidInput:
            self.close()
            raise
        except SQLAlchemyError as error:
            self.close()
            reason = getattr(error, "orig", error)
            raise InvalidInput(f"The annotation database '{self.path}' cannot be opened: {reason}.") from error
        with self.read() as connection:
            secret = connection.execute(sa.select(meta.c.value).where(meta.c.key == "secret")).scalar_one()
        self._secret = bytes.fromhex(secret)

    def _open_to_read(self) -> sa.Engine:
        """An engine on the file itself while a server has it open, else on a copy in a temporary folder.

        SQLite's write-ahead log wants two files beside the database even to read. With a server they are there, and
        its locks keep both sides consistent; without, nobody writes and a copy is the same.
        """
        beside = [self.path.with_name(self.path.name + ending) for ending in ("-wal", "-shm")]
        source = self.path
        if not all(path.exists() for path in beside):
            self._copy = TemporaryDirectory(prefix="goldeye-")
            source = Path(self._copy.name) / "annotations.sqlite"
            for path, ending in ((self.path, ""), (beside[0], "-wal")):
                if path.exists():
                    shutil.copyfile(path, f"{source}{ending}")
            if all(path.exists() for path in beside):  # a server began meanwhile
                source = self.path
        address = f"{source.absolute().as_uri()}?mode=ro"
        return sa.create_engine(
            self.url, creator=lambda: sqlite3.connect(address, uri=True, timeout=30, check_same_thread=False)
        )

    def _check_schema(self, connection: sa.Connection, *, make: bool) -> None:
        names = set(sa.inspect(connection).get_table_names())
        if not names and make:
            tables.create_all(connection)
            rows = [
                {"key": "schema", "value": SCHEMA_VERSION},
                {"key": "secret", "value": secrets.token_hex(32)},
            ]
            connection.execute(sa.insert(meta), rows)
        elif not {"meta", "person", "assignment", "vote"} <= names:
            raise InvalidInput(f"'{self.path}' is a database, but not one of Goldeye's annotations.")
        version = connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar_one_or_none()
        if version != SCHEMA_VERSION:
            raise InvalidInput(
                f"The annotation database '{self.path}' has version {version}; this Goldeye reads version "
                f"{SCHEMA_VERSION} only."
            )

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of the store."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction that no other writer overlaps: what it reads is still true when it writes."""
        with self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections; a store that is not read-only can be used again afterwards."""
        self._engine.dispose()
        if self._copy is not None:
            self._copy.cleanup()

    def keyed_hash(self, *parts: object) -> bytes:
        """HMAC-SHA-256 of the parts under this store's secret: repeatable here, unpredictable elsewhere."""
        return hmac.digest(self._secret, "\0".join(str(part) for part in parts).encode(), "sha256")

    @property
    def instance(self) -> str:
        """A short public name of this store, so that two servers on one host keep cookies and queues apart."""
        return self.keyed_hash("instance").hex()[:12]

    # People -----------------------------------------------------------------------------------------------------

    def invite(self, name: str, role: str = "annotator", *, renew: bool = False) -> str:
        """Add a person and return the token of their link. Only its hash is kept: it cannot be shown again.

        `renew` replaces the token of a known person, ends their sessions and lifts a revocation; votes stay theirs.
        """
        name = name.strip()
        if not name or len(name) > 100 or not name.isprintable():
            raise InvalidInput(f"A person's name must be 1 to 100 printable characters, not {name!r}.")
        if role not in ROLES:
            raise unknown_name("role", role, ROLES)
        token = secrets.token_urlsafe(32)
        with self.write() as connection:
            known = connection.execute(sa.select(person.c.id).where(person.c.name == name)).scalar_one_or_none()
            if known is None:
                row = {"name": name, "token_hash": _hash(token), "role": role, "created": utc_now()}
                connection.execute(sa.insert(person).values(row))
            elif renew:
                values = {"token_hash": _hash(token), "role": role, "revoked": None}
                connection.execute(sa.update(person).where(person.c.id == known).values(values))
                connection.execute(sa.delete(session).where(session.c.person == known))
            else:
                raise InvalidInput(
                    f"'{name}' has been invited already, and a link is shown only once.",
                    hint="Add --renew to replace the old link by a new one.",
                )
        return token

    def revoke(self, name: str) -> None:
        """Shut a person out at once. Their votes stay and count."""
        with self.write() as connection:
            ids = {row.name: row.id for row in connection.execute(sa.select(person.c.name, person.c.id))}
            if name not in ids:
                raise unknown_name("person", name, ids)
            connection.execute(sa.update(person).where(person.c.id == ids[name]).values(revoked=utc_now()))
            connection.execute(sa.delete(session).where(session.c.person == ids[name]))

    def people(self) -> list[Person]:
        """Everybody who was ever invited, in that order."""
        with self.read() as connection:
            return [_person(row) for row in connection.execute(sa.select(person).order_by(person.c.id))]

    def start_session(self, token: str) -> tuple[str, Person] | None:
        """Exchange the token of a link for (session id, person); None when the token is unknown or revoked."""
        token_hash, now = _hash(token), utc_now()
        with self.write() as connection:
            row = connection.execute(sa.select(person).where(person.c.token_hash == token_hash)).one_or_none()
            if row is None or row.revoked is not None or not hmac.compare_digest(row.token_hash, token_hash):
                return None
            session_id = secrets.token_urlsafe(32)
            values = {"id_hash": _hash(session_id), "person": row.id, "expires": now + SESSION_LIFE}
            connection.execute(sa.delete(session).where(session.c.expires <= now))
            connection.execute(sa.insert(session).values(values))
            return session_id, _person(row)

    def session_person(self, session_id: str) -> Person | None:
        """Who a session belongs to; None when it is unknown or over, or its person was revoked."""
        query = (
            sa.select(person)
            .join(session, session.c.person == person.c.id)
            .where(session.c.id_hash == _hash(session_id), session.c.expires > utc_now(), person.c.revoked.is_(None))
        )
        with self.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _person(row)

    def pseudonym(self, name: str) -> str:
        """What a person is called outside this store: the same each time, and not to be traced back without it."""
        return f"p-{self.keyed_hash('person', name).hex()[:8]}"

    # Results ----------------------------------------------------------------------------------------------------

    def counted_votes(self, *, surplus: bool = False) -> list[CountedVote]:
        """The labels that count: the last answer to each candidate of every complete normal assignment.

        With `surplus` also those of surplus assignments, which do not count (`counted` is False).
        Ordered by group, then by assignment as they were given out, then by candidate.
        """
        statuses = ("complete", "surplus") if surplus else ("complete",)
        counts = sa.and_(assignment.c.kind == "normal", assignment.c.status.in_(statuses))
        totals = (
            sa.select(
                vote.c.assignment,
                sa.func.max(vote.c.id).label("last"),
                sa.func.sum(vote.c.active_ms).label("ms"),
                sa.func.max(vote.c.server_time).label("ended"),
            )
            .join(assignment, assignment.c.id == vote.c.assignment)
            .where(counts)
            .group_by(vote.c.assignment, vote.c.candidate)
            .subquery()
        )
        spent = (
            sa.select(
                totals.c.assignment,
                sa.func.sum(totals.c.ms).label("ms"),
                sa.func.max(totals.c.ended).label("ended"),
            )
            .group_by(totals.c.assignment)
            .subquery()
        )
        query = (
            sa.select(
                assignment.c.group,
                vote.c.candidate,
                vote.c.label,
                person.c.name,
                spent.c.ms,
                assignment.c.created,
                spent.c.ended,
                assignment.c.status,
            )
            .join(totals, totals.c.last == vote.c.id)
            .join(assignment, assignment.c.id == vote.c.assignment)
            .join(spent, spent.c.assignment == assignment.c.id)
            .join(person, person.c.id == assignment.c.person)
            .order_by(assignment.c.group, assignment.c.created, assignment.c.id, vote.c.candidate)
        )
        with self.read() as connection:
            rows = connection.execute(query).all()
        return [
            CountedVote(group, candidate, label, name, ms / 1000, started, ended, status == "complete")
            for group, candidate, label, name, ms, started, ended, status in rows
        ]

    def answered(self) -> set[tuple[str, str]]:
        """(group, person) wherever the person gave a normal answer, whether it counts, is open or came too late."""
        query = (
            sa.select(assignment.c.group, person.c.name)
            .join(person, person.c.id == assignment.c.person)
            .where(assignment.c.kind == "normal", sa.exists().where(vote.c.assignment == assignment.c.id))
        )
        with self.read() as connection:
            return {(group, name) for group, name in connection.execute(query)}

    def progress(self) -> Progress:
        """How far the annotation is; people and groups without a complete assignment are left out of the counts."""
        done = sa.and_(assignment.c.kind == "normal", assignment.c.status == "complete")
        by_group = sa.select(assignment.c.group, sa.func.count()).where(done).group_by(assignment.c.group)
        by_person = (
            sa.select(person.c.name, sa.func.count())
            .join(assignment, assignment.c.person == person.c.id)
            .where(done)
            .group_by(person.c.name)
            .order_by(person.c.name)
        )
        with self.read() as connection:
            groups: dict[str, int] = dict(connection.execute(by_group).all())
            names: dict[str, int] = dict(connection.execute(by_person).all())
            answers = connection.execute(sa.select(sa.func.count()).select_from(vote)).scalar_one()
        return Progress(groups, names, answers)


def _person(row: Any) -> Person:
    return Person(row.id, row.name, row.role, row.revoked is not None)


def _set_up_connection(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`, not where the driver guesses
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reading(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    # A writer takes the lock before it reads: two of them can then never decide on the same old state.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
