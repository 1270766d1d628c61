"""The first store: people, sessions, assignments and votes.

Revision ID: 1
"""

import sqlalchemy as sa
from alembic import op

from goldeye.annotate.schema import UtcTime

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table("meta", sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))
    op.create_table(
        "person",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("created", UtcTime, nullable=False),
        sa.Column("revoked", UtcTime),
        sa.CheckConstraint("role IN ('annotator', 'owner')", name="known_role"),
    )
    op.create_table(
        "session",
        sa.Column("id_hash", sa.String, primary_key=True),
        sa.Column("person", sa.Integer, sa.ForeignKey("person.id"), nullable=False, index=True),
        sa.Column("expires", UtcTime, nullable=False),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("group", sa.String, nullable=False),
        sa.Column("person", sa.Integer, sa.ForeignKey("person.id"), nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("order", sa.JSON, nullable=False),
        sa.Column("created", UtcTime, nullable=False),
        sa.Column("leased_until", UtcTime, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.CheckConstraint("kind IN ('normal', 'gold', 'repeat', 'qualification')", name="known_kind"),
        sa.CheckConstraint("status IN ('leased', 'complete', 'expired', 'surplus')", name="known_status"),
    )
    op.create_index("assignment_group", "assignment", ["group", "kind", "status"])
    normal = sa.text("kind = 'normal'")
    op.create_index(
        "nobody_twice",
        "assignment",
        ["group", "person"],
        unique=True,
        sqlite_where=normal,
        postgresql_where=normal,
    )
    op.create_table(
        "vote",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("client_id", sa.String, nullable=False, unique=True),
        sa.Column("assignment", sa.String, sa.ForeignKey("assignment.id"), nullable=False),
        sa.Column("candidate", sa.String, nullable=False),
        sa.Column("label", sa.String),
        sa.Column("active_ms", sa.Integer, nullable=False),
        sa.Column("server_time", UtcTime, nullable=False),
        sa.CheckConstraint("label IN ('Positive', 'Similar', 'Negative')", name="known_label"),
        sqlite_autoincrement=True,
    )
    op.create_index("vote_answer", "vote", ["assignment", "candidate", "id"])
