"""Say why access is denied."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "accounts", sa.Column("access_denied_reason", sa.Text(), server_default=sa.text("''"), nullable=False)
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("accounts", "access_denied_reason")
