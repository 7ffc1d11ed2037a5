"""Say what mailboxes wait for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("mailbox_schedule", sa.Column("waiting_for", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("mailbox_schedule", sa.Column("last_error", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("syncs", sa.Column("progress_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("syncs", "progress_at")
    op.drop_column("mailbox_schedule", "last_error")
    op.drop_column("mailbox_schedule", "waiting_for")
