"""No index over the next tries of deliveries apart from their feeds of all webhooks together."""

import sqlalchemy as sa
from alembic import op

revision: str = "0042"
down_revision: str | None = "0041"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    # The release before reads the few planned rows by the index that has replaced it.
    with op.get_context().autocommit_block():
        op.drop_index(
            "ix_webhook_deliveries_due_at",
            table_name="webhook_deliveries",
            if_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.create_index(
        "ix_webhook_deliveries_due_at",
        "webhook_deliveries",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
