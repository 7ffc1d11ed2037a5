"""Events in feeds, and the heads of feeds."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0028"
down_revision: str | None = "0027"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "feed_heads",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disconnected_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_feed_heads")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_feed_heads_application_id", "feed_heads", ["application_id"], unique=False)
    op.add_column("change_feeds", sa.Column("live_from", sa.BigInteger(), server_default=sa.text("0"), nullable=True))
    op.add_column("message_changes", sa.Column("event", sa.Text(), nullable=True))
    op.add_column("message_changes", sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("message_changes", "details")
    op.drop_column("message_changes", "event")
    op.drop_column("change_feeds", "live_from")
    op.drop_index("ix_feed_heads_application_id", table_name="feed_heads")
    op.drop_table("feed_heads")
