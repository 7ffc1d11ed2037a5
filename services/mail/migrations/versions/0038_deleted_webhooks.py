"""Deleted webhooks, which have no application until they are erased."""

import sqlalchemy as sa
from alembic import op

revision: str = "0038"
down_revision: str | None = "0037"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    # The release before looks webhooks up by their application: it meets no deleted one.
    op.execute(
        "-- squawk-ignore ban-drop-not-null\nALTER TABLE webhook_endpoints ALTER COLUMN application_id DROP NOT NULL"
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.execute("DELETE FROM webhook_endpoints WHERE application_id IS NULL")
    op.alter_column("webhook_endpoints", "application_id", existing_type=sa.Uuid(), nullable=False)
