"""Passes of a listing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "sync_states", sa.Column("listing_pass", sa.BigInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column("sync_states", sa.Column("listing_ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column(
        "sync_states", sa.Column("listing_found", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "sync_states", sa.Column("listing_disturbed", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("sync_states", sa.Column("listable_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("sync_states", "listable_at")
    op.drop_column("sync_states", "listing_disturbed")
    op.drop_column("sync_states", "listing_found")
    op.drop_column("sync_states", "listing_ended_at")
    op.drop_column("sync_states", "listing_pass")
