"""No index over the next tries of failed events of feeds of all webhooks together."""

import sqlalchemy as sa
from alembic import op

revision: str = "0041"
down_revision: str | None = "0040"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    # The release before reads the few planned rows by the index that has replaced it.
    with op.get_context().autocommit_block():
        op.drop_index(
            "ix_webhook_cursors_due_at", table_name="webhook_cursors", if_exists=True, postgresql_concurrently=True
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.create_index(
        "ix_webhook_cursors_due_at",
        "webhook_cursors",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
