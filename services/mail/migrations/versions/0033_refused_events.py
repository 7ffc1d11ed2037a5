"""Whether the next event of a webhook's cursor was refused."""

import sqlalchemy as sa
from alembic import op

revision: str = "0033"
down_revision: str | None = "0032"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "webhook_cursors", sa.Column("is_refused", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("webhook_cursors", "is_refused")
