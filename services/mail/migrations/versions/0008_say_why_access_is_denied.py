"""Say why access to a mailbox is denied."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "mailboxes", sa.Column("access_denied_reason", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column("mailboxes", sa.Column("denials", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("mailboxes", sa.Column("denied_since", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("mailboxes", "denied_since")
    op.drop_column("mailboxes", "denials")
    op.drop_column("mailboxes", "access_denied_reason")
