"""Watermarks name their provider: each has a quota of its own."""

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("quota_watermarks", sa.Column("provider", sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("quota_watermarks", "provider")
