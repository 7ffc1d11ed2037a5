"""The deliveries of a webhook by state, of those that were not made: they are few among those that were."""

import sqlalchemy as sa
from alembic import op

revision: str = "0037"
down_revision: str | None = "0036"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_webhook_deliveries_state",
            "webhook_deliveries",
            ["endpoint_id", "state", "delivery_id"],
            unique=False,
            if_not_exists=True,
            postgresql_where=sa.text("state <> 'delivered'"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_webhook_deliveries_state", table_name="webhook_deliveries")
