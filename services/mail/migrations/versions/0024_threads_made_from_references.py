"""Threads made from references."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0024"
down_revision: str | None = "0023"

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md).

    Threads of stored messages keep their ids: new messages of such a thread get the same one from its root.
    """
    op.create_table(
        "thread_references",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.LargeBinary(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", "reference", name=op.f("pk_thread_references")),
        _of_mailbox("thread_references"),
    )
    op.create_table(
        "thread_merges",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("kept_id", sa.Text(), nullable=False),
        sa.Column("kept_since", _TIME, nullable=False),
        sa.Column("is_moved", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", "thread_id", name=op.f("pk_thread_merges")),
        _of_mailbox("thread_merges"),
    )
    op.create_index(op.f("ix_thread_merges_mailbox_id_kept_id"), "thread_merges", ["mailbox_id", "kept_id"])
    op.create_index(
        "ix_thread_merges_unmoved",
        "thread_merges",
        ["mailbox_id", "thread_id"],
        postgresql_where=sa.text("NOT is_moved"),
    )


def _of_mailbox(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f(f"fk_{table}_mailboxes"), ondelete="CASCADE"
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_table("thread_merges")
    op.drop_table("thread_references")
