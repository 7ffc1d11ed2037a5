"""Lost cursors and the units of incomplete messages."""

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("sync_states", sa.Column("cursor_loss", sa.Text(), nullable=True))
    op.add_column(
        "fetch_queue", sa.Column("completion_units", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("fetch_queue", "completion_units")
    op.drop_column("sync_states", "cursor_loss")
