"""The tables of the annotation store, for SQLite and PostgreSQL. A change here needs a step in `migrations/versions`.

Votes are append-only. The answer of a person about a candidate is the last row of (assignment, candidate); taking an
answer back is a row without a label, and skipping a group a row without a candidate. All times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

LABELS = ("Positive", "Similar", "Negative")
# What a row of `vote` may say: the labels of annotation, the choice in a pair, EDL's six levels, a group passed over.
WORDS = (*LABELS, "Preferred", "0", "1", "2", "3", "4", "5", "Skipped")
ROLES = ("annotator", "owner")
KINDS = ("normal", "gold", "repeat", "qualification")
# leased: being answered until `leased_until`. complete: every candidate has a label and the votes count.
# expired: abandoned or skipped, its place went back. surplus: completed after its place was taken; kept, never counted.
STATUSES = ("leased", "complete", "expired", "surplus")
ITEM_KINDS = ("normal", "gold", "qualification")


class UtcTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime in Python; SQLite has no time zones, so the zone is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def one_of(column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    """A column holds one of some words (or nothing)."""
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
    sa.Column("pseudonym", sa.String),  # what the person is called in files that leave the house
    sa.Column("paused", UtcTime),
    sa.Column("forgotten", UtcTime),
    sa.Column("quota", sa.Integer),  # groups this person may do (None: the store's setting)
    sa.Column("qualified", sa.String),
    one_of("role", ROLES),
)
sa.Index("person_pseudonym", person.c.pseudonym, unique=True)
session = sa.Table(
    "session",
    tables,
    sa.Column("id_hash", sa.String, primary_key=True),
    sa.Column("person", sa.ForeignKey("person.id"), nullable=False, index=True),
    sa.Column("expires", UtcTime, nullable=False),
)
# A group as something to be given out. `taken` places are held by live leases and complete normal assignments; a place
# is given while there are fewer than `needed`, which adaptive voting raises where the first two votes differ.
item = sa.Table(
    "item",
    tables,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("rank", sa.BigInteger, nullable=False),  # random: the order in which groups are given out
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),  # in the dataset as it is now
    sa.Column("needed", sa.Integer, nullable=False),
    sa.Column("taken", sa.Integer, nullable=False),
    sa.Column("complete", sa.Integer, nullable=False),
    sa.Column("disagreement", sa.Float, nullable=False),  # share of pairs of complete votes that differ
    sa.Column("expected", sa.JSON),  # candidate → label, of gold and qualification items
    sa.Column("note", sa.String),
    sa.CheckConstraint(sa.column("kind").in_(ITEM_KINDS), name="known_item_kind"),
)
# No parameter: SQLite then takes what a partial index says for granted.
_normal_item: sa.ColumnElement[str] = sa.literal_column("'normal'")
open_item = sa.and_(item.c.kind == _normal_item, item.c.active, item.c.taken < item.c.needed)
special_item = item.c.kind != _normal_item
sa.Index("item_open", item.c.taken.desc(), item.c.rank, sqlite_where=open_item, postgresql_where=open_item)
sa.Index(
    "item_disputed",
    item.c.disagreement.desc(),
    item.c.taken.desc(),
    item.c.rank,
    sqlite_where=open_item,
    postgresql_where=open_item,
)
sa.Index("item_special", item.c.kind, item.c.rank, sqlite_where=special_item, postgresql_where=special_item)
assignment = sa.Table(
    "assignment",
    tables,
    sa.Column("id", sa.String, primary_key=True),  # random: the page's addresses are made of it
    sa.Column("group", sa.String, nullable=False),
    sa.Column("person", sa.ForeignKey("person.id"), nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),  # the candidates' keys in the order shown
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("leased_until", UtcTime, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),  # 1, 2, … as given to the person
    sa.Column("closed", UtcTime),  # of a qualification item: when its feedback was given
    sa.Column("skip_reason", sa.String),
    one_of("kind", KINDS),
    one_of("status", STATUSES),
)
sa.Index("assignment_group", assignment.c.group, assignment.c.person, assignment.c.kind, assignment.c.status)
sa.Index("assignment_person", assignment.c.person, assignment.c.status, assignment.c.kind, assignment.c.group)
sa.Index("assignment_number", assignment.c.person, assignment.c.number, unique=True)
_leased = assignment.c.status == "leased"
sa.Index("assignment_lease", assignment.c.leased_until, sqlite_where=_leased, postgresql_where=_leased)
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
    sa.Column("candidate", sa.String, nullable=False),  # empty: the group was skipped
    sa.Column("label", sa.String),
    sa.Column("active_ms", sa.Integer, nullable=False),
    sa.Column("server_time", UtcTime, nullable=False),
    one_of("label", WORDS),
    sqlite_autoincrement=True,  # ids only grow, so that "the last row" is always the newest
)
sa.Index("vote_answer", vote.c.assignment, vote.c.candidate, vote.c.id)
sa.Index("vote_time", vote.c.server_time)
# What owners and the command line did: append-only, with a person's name only where they were not forgotten.
log = sa.Table(
    "log",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("person", sa.ForeignKey("person.id")),  # whom it was about
    sa.Column("detail", sa.String, nullable=False),
    sqlite_autoincrement=True,
)
