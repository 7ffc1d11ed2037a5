"""Feeds have incarnations, and record changes of labels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"


# Installations from before 30 November 2026 have other names of two tables, under which their processes still use them.
_RENAMED = {
    "fetch_items": (
        "fetch_queue",
        """
        ALTER TABLE fetch_queue RENAME CONSTRAINT pk_fetch_items TO pk_fetch_queue;
        ALTER TABLE fetch_queue RENAME CONSTRAINT fk_fetch_items_mailboxes TO fk_fetch_queue_mailboxes;
        ALTER INDEX ix_fetch_items_mailbox_id_lane_ordinal RENAME TO ix_fetch_queue_mailbox_id_lane_ordinal;
        ALTER INDEX ix_fetch_items_mailbox_id_thread_id RENAME TO ix_fetch_queue_mailbox_id_thread_id;
        """,
    ),
    "relisted": (
        "listed_ids",
        """
        ALTER TABLE listed_ids RENAME CONSTRAINT pk_relisted TO pk_listed_ids;
        ALTER TABLE listed_ids RENAME CONSTRAINT fk_relisted_mailboxes TO fk_listed_ids_mailboxes;
        """,
    ),
}


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for former, (name, others) in _RENAMED.items():
        # Each by itself: a transaction that held the lock of one table and waited for others could wait for ever. It can
        # have been done before an interruption: then the former name is that of a view.
        with op.get_context().autocommit_block():
            op.execute(
                f"""
                DO $$ BEGIN
                    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('{former}') AND relkind = 'r') THEN
                        ALTER TABLE {former} RENAME TO {name};
                        {others}
                        CREATE VIEW {former} AS SELECT ctid, * FROM {name};
                    END IF;
                END $$
                """  # noqa: S608 - constants
            )
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
