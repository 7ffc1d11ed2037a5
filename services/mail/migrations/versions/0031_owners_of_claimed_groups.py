"""The workers that have claimed groups of idle mailboxes: a dead one's are free at once."""

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column("idle_groups", sa.Column("lease_owner", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("idle_groups", "lease_owner")
