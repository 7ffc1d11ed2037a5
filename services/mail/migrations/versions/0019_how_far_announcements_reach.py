"""How far announcements reach."""

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("mailbox_schedule", sa.Column("announced_cursor", sa.Numeric(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("mailbox_schedule", "announced_cursor")
