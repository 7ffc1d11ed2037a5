"""Roles of labels."""

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md).

    Workers write the roles as they next list a mailbox's labels, within minutes. Until then queries by role go by name.
    """
    op.add_column("labels", sa.Column("role", sa.Text(), server_default=sa.text("'none'"), nullable=False))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("labels", "role")
