"""Counts of messages, kept with the change feed."""

import sqlalchemy as sa
from alembic import op

revision: str = "0030"
down_revision: str | None = "0029"

_COUNTS = ("message_count", "unread_count", "counted_seq")


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for name in _COUNTS:
        op.add_column("change_feeds", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    for name in _COUNTS:
        op.drop_column("change_feeds", name)
