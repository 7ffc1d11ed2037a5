"""When mailboxes were hinted."""

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("mailbox_schedule", sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("mailbox_schedule", "hinted_at")
