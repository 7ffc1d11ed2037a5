"""Requests with an idempotency key."""

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "sync_requests",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("newest_count", sa.BigInteger(), nullable=True),
        sa.Column("sync_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.mailbox_id"],
            name=op.f("fk_sync_requests_mailbox_id_mailboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_sync_requests")),
    )
    op.create_index(op.f("ix_sync_requests_mailbox_id"), "sync_requests", ["mailbox_id"], unique=False)
    op.create_index(op.f("ix_sync_requests_created_at"), "sync_requests", ["created_at"], unique=False)


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_table("sync_requests")
