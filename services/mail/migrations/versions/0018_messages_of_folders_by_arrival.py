"""Messages of folders in the order of their arrival, and the ends of passes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0018"
down_revision: str | None = "0017"

_INDEX = "ix_mail_locations_arrival"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            _INDEX,
            "mail_locations",
            ["mailbox_id", "arrived_at", "folder_id", "generation", "key"],
            if_not_exists=True,
            postgresql_concurrently=True,
        )
    op.add_column("folder_histories", sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index(_INDEX, "mail_locations")
    op.drop_column("folder_histories", "ended_at")
