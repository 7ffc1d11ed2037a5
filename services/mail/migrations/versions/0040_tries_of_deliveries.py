"""The next tries of deliveries apart from their feeds, by webhook."""

import sqlalchemy as sa
from alembic import op

revision: str = "0040"
down_revision: str | None = "0039"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_webhook_deliveries_planned",
            "webhook_deliveries",
            ["endpoint_id", "due_at"],
            unique=False,
            if_not_exists=True,
            postgresql_where=sa.text("due_at IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_webhook_deliveries_planned", table_name="webhook_deliveries")
