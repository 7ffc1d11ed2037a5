"""Doubted messages."""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("fetch_queue", sa.Column("doubted", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("fetch_queue", "doubted")
