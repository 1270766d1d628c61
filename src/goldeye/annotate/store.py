"""The store of an annotation: people and their links, gold items, settings and the log, beside the answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from goldeye.annotate.schema import ITEM_KINDS, ROLES, assignment, item, log, meta, person, session
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.votes import Votes
from goldeye.errors import InvalidInput, unknown_name

SESSION_LIFE = timedelta(days=30)
COMMAND_LINE = "command line"  # who did what no person did, in the log


@dataclass(frozen=True)
class Person:
    """Somebody with a personal link."""

    id: int
    name: str
    role: str
    revoked: bool
    paused: bool = False
    forgotten: bool = False
    pseudonym: str = ""
    quota: int | None = None
    qualified: str | None = None

    @property
    def state(self) -> str:
        """active, paused, revoked or forgotten."""
        if self.forgotten:
            return "forgotten"
        return "revoked" if self.revoked else "paused" if self.paused else "active"


class LogEntry(NamedTuple):
    """A line of the log of changes; `actor` is a person or "command line"."""

    id: int
    time: datetime
    actor: str
    action: str
    detail: str


def utc_now() -> datetime:
    return datetime.now(UTC)


def _hash(token: str) -> str:
    # Tokens are 32 random bytes, so that a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()


class Store(Votes):
    """People, settings and votes in a database (see Database for what it may be)."""

    # People -----------------------------------------------------------------------------------------------------

    def invite(
        self,
        name: str,
        role: str = "annotator",
        *,
        quota: int | None = None,
        renew: bool = False,
        actor: str = COMMAND_LINE,
    ) -> str:
        """Add a person and return the token of their link. Only its hash is kept: it cannot be shown again.

        `renew` replaces the token of a known person, ends their sessions and lifts a revocation; votes stay theirs, and
        so do their role and quota unless a quota is given. Raises InvalidInput for a name that is none or taken.
        """
        name = name.strip()
        if not name or len(name) > 100 or not name.isprintable():
            raise InvalidInput(f"A person's name must be 1 to 100 printable characters, not {name!r}.")
        if name == COMMAND_LINE:
            raise InvalidInput(f"A person cannot be called '{COMMAND_LINE}': the log names the command line so.")
        if role not in ROLES:
            raise unknown_name("role", role, ROLES)
        _check_quota(quota)
        token = secrets.token_urlsafe(32)
        with self.write() as connection:
            pseudonym = sa.select(person.c.id).where(person.c.pseudonym == name, person.c.name != name)
            if connection.execute(pseudonym).first() is not None:
                raise InvalidInput(f"'{name}' is the pseudonym of another person.")
            known = connection.execute(sa.select(person).where(person.c.name == name)).one_or_none()
            alike = sa.select(person.c.name).where(person.c.forgotten.is_(None), person.c.name != name)
            for other in connection.execute(alike).scalars():
                if known is None and other.casefold() == name.casefold():
                    raise InvalidInput(f"'{name}' is too like '{other}', who has been invited already.")
            if known is None:
                row = {
                    "name": name,
                    "token_hash": _hash(token),
                    "role": role,
                    "created": utc_now(),
                    "quota": quota,
                    "pseudonym": self._free_pseudonym(connection, name),
                }
                identity = connection.execute(sa.insert(person).values(row).returning(person.c.id)).scalar_one()
                self._note(connection, actor, "invited", role, identity)
            elif renew and known.forgotten is None:
                values: dict[str, Any] = {"token_hash": _hash(token), "revoked": None}
                values |= {} if quota is None else {"quota": quota}
                connection.execute(sa.update(person).where(person.c.id == known.id).values(values))
                connection.execute(sa.delete(session).where(session.c.person == known.id))
                self._note(connection, actor, "renewed the link", "", known.id)
            else:
                raise InvalidInput(
                    f"'{name}' has been invited already, and a link is shown only once.",
                    hint="Add --renew to replace the old link by a new one.",
                )
        return token

    def _free_pseudonym(self, connection: sa.Connection, name: str) -> str:
        # A name may come again after the first of that name was forgotten: another person then.
        for number in range(1000):
            parts = ("person", name) if number == 0 else ("person", name, number)
            called = f"p-{self.keyed_hash(*parts).hex()[:8]}"
            taken = sa.select(person.c.id).where((person.c.pseudonym == called) | (person.c.name == called))
            if connection.execute(taken).first() is None:
                return called
        raise InvalidInput(f"Too many people were called '{name}'.")

    def revoke(self, name: str, *, actor: str = COMMAND_LINE) -> None:
        """Shut a person out at once. Their votes stay and count."""
        with self.write() as connection:
            identity = self._find(connection, name)
            connection.execute(sa.update(person).where(person.c.id == identity).values(revoked=utc_now()))
            self._end_sessions(connection, identity)
            self._note(connection, actor, "revoked", "", identity)

    def pause(self, name: str, paused: bool = True, *, actor: str = COMMAND_LINE) -> None:
        """Give a person no new group until they are resumed; they can still sign in."""
        with self.write() as connection:
            identity = self._find(connection, name)
            values = {"paused": utc_now() if paused else None}
            connection.execute(sa.update(person).where(person.c.id == identity).values(values))
            self._note(connection, actor, "paused" if paused else "resumed", "", identity)

    def set_quota(self, name: str, quota: int | None, *, actor: str = COMMAND_LINE) -> None:
        """The most groups a person may do; None leaves it to the settings."""
        _check_quota(quota)
        with self.write() as connection:
            identity = self._find(connection, name)
            connection.execute(sa.update(person).where(person.c.id == identity).values(quota=quota))
            self._note(connection, actor, "set the quota", "none" if quota is None else str(quota), identity)

    def qualify(self, name: str, *, passed: bool, actor: str = COMMAND_LINE) -> None:
        """Let a person pass the qualification without it, or (not `passed`) try it once more."""
        with self.write() as connection:
            identity = self._find(connection, name)
            values = {"qualified": "passed" if passed else None}
            connection.execute(sa.update(person).where(person.c.id == identity).values(values))
            if not passed:  # earlier attempts are kept, but no longer count
                mine = (assignment.c.person == identity) & (assignment.c.kind == "qualification")
                connection.execute(sa.update(assignment).where(mine).values(status="surplus", closed=utc_now()))
            action = "passed without qualification" if passed else "may try the qualification again"
            self._note(connection, actor, action, "", identity)

    def forget(self, name: str, *, actor: str = COMMAND_LINE) -> str:
        """Remove a person's name for good; their votes stay under their pseudonym, which is returned."""
        with self.write() as connection:
            identity = self._find(connection, name)
            called = connection.execute(sa.select(person.c.pseudonym).where(person.c.id == identity)).scalar_one()
            values = {
                "name": called,
                "token_hash": _hash(secrets.token_urlsafe(32)),
                "revoked": utc_now(),
                "forgotten": utc_now(),
            }
            connection.execute(sa.update(person).where(person.c.id == identity).values(values))
            connection.execute(sa.update(log).where(log.c.actor == name).values(actor=called))
            self._end_sessions(connection, identity)
            self._note(connection, called if actor == name else actor, "forgotten", "", identity)
        self.empty_log_file()
        return str(called)

    def _find(self, connection: sa.Connection, name: str) -> int:
        query = sa.select(person.c.name, person.c.id).where(person.c.forgotten.is_(None))
        ids: dict[str, int] = {row.name: row.id for row in connection.execute(query)}
        if name not in ids:
            raise unknown_name("person", name, ids)
        return ids[name]

    def people(self) -> list[Person]:
        """Everybody who was ever invited, in that order."""
        with self.read() as connection:
            return [_person(row) for row in connection.execute(sa.select(person).order_by(person.c.id))]

    # Sessions ---------------------------------------------------------------------------------------------------

    def start_session(self, token: str) -> tuple[str, Person] | None:
        """Exchange the token of a link for (session id, person); None when the token is unknown or revoked."""
        token_hash, now = _hash(token), utc_now()
        with self.write(alone=False) as connection:
            # Locked, so that a link that is replaced at this moment starts no session.
            query = sa.select(person).where(person.c.token_hash == token_hash).with_for_update()
            row = connection.execute(query).one_or_none()
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

    def end_session(self, session_id: str) -> None:
        """Sign out: the session is not valid any more."""
        with self.write(alone=False) as connection:
            connection.execute(sa.delete(session).where(session.c.id_hash == _hash(session_id)))

    def _end_sessions(self, connection: sa.Connection, identity: int) -> None:
        connection.execute(sa.delete(session).where(session.c.person == identity))

    # Gold items -------------------------------------------------------------------------------------------------

    def set_gold(
        self,
        group: str,
        kind: str | None,
        expected: Mapping[str, str] | None = None,
        note: str | None = None,
        *,
        actor: str = COMMAND_LINE,
    ) -> None:
        """Make a group a gold or qualification item with the labels `expected` (candidate → label), or normal again.

        Such a group gets no normal votes any more. The group need not be known yet: the application that gives it out
        checks its candidates and labels.
        """
        self.set_golds(kind, {group: (expected or {}, note)}, actor=actor)

    def set_golds(
        self,
        kind: str | None,
        items: Mapping[str, tuple[Mapping[str, str], str | None]],
        *,
        actor: str = COMMAND_LINE,
    ) -> None:
        """The same for several groups, all or none: group → (expected labels, note)."""
        if kind not in (*ITEM_KINDS[1:], None):
            raise unknown_name("kind of item", str(kind), ITEM_KINDS[1:])
        with self.write() as connection:
            for group, (expected, note) in items.items():
                if kind is not None and not expected:
                    raise InvalidInput(f"Group '{group}' needs an expected label to be a {kind} item.")
                values = {
                    "kind": kind or "normal",
                    "expected": dict(expected) if kind else sa.null(),
                    "note": note if kind else None,
                }
                known = connection.execute(sa.update(item).where(item.c.id == group).values(values)).rowcount
                if not known:
                    rank = self.item_rank(group)
                    counts = {"active": False, "needed": 0, "taken": 0, "complete": 0, "disagreement": 0.0}
                    connection.execute(sa.insert(item).values({"id": group, "rank": rank} | values | counts))
                labels = ", ".join(f"{slot}={label}" for slot, label in sorted(expected.items()))
                detail = group if kind is None else f"{group}: {labels}"
                self._note(connection, actor, f"made a {kind or 'normal'} item", detail)

    def item_rank(self, group: str) -> int:
        """The group's place in the order in which groups are given out: random, but always the same."""
        return int.from_bytes(self.keyed_hash("group", group)[:7], "big")

    # Settings and log -------------------------------------------------------------------------------------------

    def settings(self) -> AnnotationSettings | None:
        """What the annotation was last served with; None before the first time."""
        with self.read() as connection:
            return stored_settings(connection)

    def remember(self, key: str, value: str) -> None:
        """Keep a word about this annotation, such as the address it was last served at."""
        with self.write() as connection:
            connection.execute(sa.delete(meta).where(meta.c.key == key))
            connection.execute(sa.insert(meta).values(key=key, value=value))

    def remembered(self, key: str) -> str | None:
        """What was kept under a key; None when nothing was."""
        with self.read() as connection:
            return connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()

    def log(self, before: int | None = None, most: int = 100) -> list[LogEntry]:
        """The newest changes first, `most` at a time, those older than the entry `before`."""
        query = (
            sa.select(log.c.id, log.c.time, log.c.actor, log.c.action, log.c.detail, person.c.name)
            .join(person, person.c.id == log.c.person, isouter=True)
            .order_by(log.c.id.desc())
            .limit(most)
        )
        if before is not None:
            query = query.where(log.c.id < before)
        with self.read() as connection:
            rows = connection.execute(query).all()
        return [
            LogEntry(row.id, row.time, row.actor, row.action, ", ".join(filter(None, (row.name, row.detail))))
            for row in rows
        ]

    def note(self, actor: str, action: str, detail: str) -> None:
        """Add a line to the log of changes."""
        with self.write() as connection:
            self._note(connection, actor, action, detail)

    def _note(self, connection: sa.Connection, actor: str, action: str, detail: str, about: int | None = None) -> None:
        values = {"time": utc_now(), "actor": actor, "action": action, "detail": detail, "person": about}
        connection.execute(sa.insert(log).values(values))


def stored_settings(connection: sa.Connection) -> AnnotationSettings | None:
    """The settings as the store has them."""
    text = connection.execute(sa.select(meta.c.value).where(meta.c.key == "settings")).scalar_one_or_none()
    return None if text is None else AnnotationSettings.model_validate_json(text)


def keep_settings(connection: sa.Connection, settings: AnnotationSettings) -> None:
    """Write the settings into the store."""
    connection.execute(sa.delete(meta).where(meta.c.key == "settings"))
    text = json.dumps(settings.model_dump(mode="json"))
    connection.execute(sa.insert(meta).values(key="settings", value=text))


def _check_quota(quota: int | None) -> None:
    if quota is not None and quota < 1:
        raise InvalidInput(f"A quota is at least 1 group, not {quota}.")


def _person(row: Any) -> Person:
    return Person(
        row.id,
        row.name,
        row.role,
        row.revoked is not None,
        row.paused is not None,
        row.forgotten is not None,
        row.pseudonym,
        row.quota,
        row.qualified,
    )
