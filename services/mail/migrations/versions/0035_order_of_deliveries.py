"""Whether an endpoint gets the events of a mailbox one after the other."""

import sqlalchemy as sa
from alembic import op

revision: str = "0035"
down_revision: str | None = "0034"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "webhook_endpoints",
        sa.Column("delivery_order", sa.Text(), server_default=sa.text("'mailbox'"), nullable=False),
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("webhook_endpoints", "delivery_order")
