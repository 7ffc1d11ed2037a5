"""Labels that are missing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    # In the order in which turns lock them: the other one meets deadlocks.
    op.add_column("sync_states", sa.Column("labels_due_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("labels", sa.Column("missing_since", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("labels", sa.Column("removed_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("sync_states", "labels_due_at")
    op.drop_column("labels", "removed_at")
    op.drop_column("labels", "missing_since")
