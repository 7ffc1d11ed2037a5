"""Workers that hold connections of mailboxes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0021"
down_revision: str | None = "0020"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("mailbox_schedule", sa.Column("held_by", sa.Uuid(), nullable=True))
    op.add_column("mailbox_schedule", sa.Column("held_until", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("mailbox_schedule", "held_until")
    op.drop_column("mailbox_schedule", "held_by")
