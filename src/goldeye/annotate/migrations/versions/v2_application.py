"""Items with places, gold and qualification, skipped groups, pseudonyms, studies' labels, the log of changes.

Revision ID: 2
"""

import hmac

import sqlalchemy as sa
from alembic import op

from goldeye.annotate.schema import UtcTime

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add columns and tables; fill in the numbers of assignments and the pseudonyms of people."""
    for column in (
        sa.Column("pseudonym", sa.String),
        sa.Column("paused", UtcTime),
        sa.Column("forgotten", UtcTime),
        sa.Column("quota", sa.Integer),
        sa.Column("qualified", sa.String),
    ):
        op.add_column("person", column)
    for column in (
        sa.Column("number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("closed", UtcTime),
        sa.Column("skip_reason", sa.String),
    ):
        op.add_column("assignment", column)
    _fill()
    op.create_index("person_pseudonym", "person", ["pseudonym"], unique=True)
    op.drop_index("ix_assignment_person", "assignment")
    op.create_index("assignment_person", "assignment", ["person", "status", "kind", "group"])
    op.drop_index("assignment_group", "assignment")
    op.create_index("assignment_group", "assignment", ["group", "person", "kind", "status"])
    op.create_index("assignment_number", "assignment", ["person", "number"], unique=True)
    leased = sa.text("status = 'leased'")
    op.create_index("assignment_lease", "assignment", ["leased_until"], sqlite_where=leased, postgresql_where=leased)
    words = "'Positive', 'Similar', 'Negative', 'Preferred', '0', '1', '2', '3', '4', '5', 'Skipped'"
    with op.batch_alter_table("vote", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint("known_label", type_="check")
        batch.create_check_constraint("known_label", f"label IN ({words})")
    op.create_index("vote_time", "vote", ["server_time"])
    op.create_table(
        "item",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("needed", sa.Integer, nullable=False),
        sa.Column("taken", sa.Integer, nullable=False),
        sa.Column("complete", sa.Integer, nullable=False),
        sa.Column("disagreement", sa.Float, nullable=False),
        sa.Column("expected", sa.JSON),
        sa.Column("note", sa.String),
        sa.CheckConstraint("kind IN ('normal', 'gold', 'qualification')", name="known_item_kind"),
    )
    # Word for word as the queries have it: else SQLite does not use the index for them.
    on_sqlite = sa.text("kind = 'normal' AND active = 1 AND taken < needed")
    on_postgresql = sa.text("kind = 'normal' AND active AND taken < needed")
    for name, columns in (("item_open", ["taken", "rank"]), ("item_disputed", ["disagreement", "taken", "rank"])):
        keys = [sa.text(f"{column} DESC") if column != "rank" else column for column in columns]
        op.create_index(name, "item", keys, sqlite_where=on_sqlite, postgresql_where=on_postgresql)
    special = sa.text("kind != 'normal'")
    op.create_index("item_special", "item", ["kind", "rank"], sqlite_where=special, postgresql_where=special)
    op.create_table(
        "log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("person", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("detail", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.execute("DELETE FROM meta WHERE key = 'schema'")


def _fill() -> None:
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "UPDATE assignment SET number = place.number FROM (SELECT id, row_number() OVER "
            "(PARTITION BY person ORDER BY created, id) AS number FROM assignment) AS place "
            "WHERE place.id = assignment.id"
        )
    )
    secret = bytes.fromhex(connection.execute(sa.text("SELECT value FROM meta WHERE key = 'secret'")).scalar_one())
    for identity, name in connection.execute(sa.text("SELECT id, name FROM person")).all():
        digest = hmac.digest(secret, f"person\0{name}".encode(), "sha256")
        pseudonym = f"p-{digest.hex()[:8]}"
        connection.execute(
            sa.text("UPDATE person SET pseudonym = :pseudonym WHERE id = :id"), {"pseudonym": pseudonym, "id": identity}
        )
