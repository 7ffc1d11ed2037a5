"""Feeds have incarnations, and record changes of labels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "feed_incarnations",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_feed_incarnations_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "incarnation", name=op.f("pk_feed_incarnations")),
    )
    op.add_column(
        "change_feeds", sa.Column("incarnation", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("change_feeds", sa.Column("database_id", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("message_changes", sa.Column("label_id", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("message_changes", "label_id")
    op.drop_column("change_feeds", "database_id")
    op.drop_column("change_feeds", "incarnation")
    op.drop_table("feed_incarnations")
