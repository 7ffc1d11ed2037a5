"""The trail of a listing, which tells pages that lead in a circle."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0025"
down_revision: str | None = "0024"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md).

    Workers of the release before leave a trail as it is. A listing that began at one of them may be taken for a circle
    once: its turn fails, and is repeated.
    """
    op.add_column("sync_states", sa.Column("listing_pages", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(
        "sync_states",
        sa.Column("listing_trail", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("sync_states", "listing_trail")
    op.drop_column("sync_states", "listing_pages")
