"""Requested deletions of applications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0016"
down_revision: str | None = "0015"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("applications", sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("applications", "deleted_at")
