"""mailboxes, sync and messages"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "disconnections",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requested_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("erased_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_disconnections")),
        sa.UniqueConstraint("account_id", name=op.f("uq_disconnections_account_id")),
    )
    op.create_index(op.f("ix_disconnections_user_id"), "disconnections", ["user_id"], unique=False)
    op.create_table(
        "mailboxes",
        sa.Column("mailbox_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reconnect_by", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_mailboxes")),
        sa.UniqueConstraint("account_id", name=op.f("uq_mailboxes_account_id")),
    )
    op.create_index("ix_mailboxes_lower_email", "mailboxes", [sa.literal_column("lower(email)")], unique=False)
    op.create_index(op.f("ix_mailboxes_user_id"), "mailboxes", ["user_id"], unique=False)
    op.create_table(
        "user_deletions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("requested_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_deletions")),
    )
    op.create_index(
        "ix_user_deletions_active",
        "user_deletions",
        ["requested_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "workers",
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_workers")),
    )
    op.create_table(
        "change_feeds",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_change_feeds_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_change_feeds")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "dead_letters",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("wanted_version", sa.Numeric(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("died_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_dead_letters_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "external_id", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "fetch_queue",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("wanted_version", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.Column("stale_gets", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "not_before", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("'-infinity'"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_fetch_queue_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "external_id", name=op.f("pk_fetch_queue")),
    )
    op.create_index(
        op.f("ix_fetch_queue_mailbox_id_lane_ordinal"), "fetch_queue", ["mailbox_id", "lane", "ordinal"], unique=False
    )
    op.create_index(
        op.f("ix_fetch_queue_mailbox_id_thread_id"), "fetch_queue", ["mailbox_id", "thread_id"], unique=False
    )
    op.create_table(
        "labels",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("label_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_labels_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "label_id", name=op.f("pk_labels")),
    )
    op.create_table(
        "mailbox_schedule",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("hint_seq", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_mailbox_schedule_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_mailbox_schedule")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(op.f("ix_mailbox_schedule_lane_due_at"), "mailbox_schedule", ["lane", "due_at"], unique=False)
    op.create_table(
        "message_changes",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_message_changes_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "seq", name=op.f("pk_message_changes")),
    )
    op.create_table(
        "messages",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Numeric(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=True),
        sa.Column("from_email", sa.Text(), nullable=True),
        sa.Column("to_addresses", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("cc_addresses", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("snippet", sa.Text(), nullable=False),
        sa.Column("label_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("has_attachments", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_messages_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "message_id", name=op.f("pk_messages")),
        sa.UniqueConstraint("mailbox_id", "external_id", name=op.f("uq_messages_mailbox_id_external_id")),
    )
    op.create_index(
        "ix_messages_label_ids",
        "messages",
        ["label_ids"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index(
        "ix_messages_newest_first",
        "messages",
        ["mailbox_id", sa.literal_column("received_at DESC"), sa.literal_column("message_id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_messages_thread",
        "messages",
        ["mailbox_id", "thread_id", sa.literal_column("received_at DESC"), sa.literal_column("message_id DESC")],
        unique=False,
    )
    op.create_table(
        "listed_ids",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_listed_ids_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "round", "external_id", name=op.f("pk_listed_ids")),
    )
    op.create_table(
        "sync_states",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cursor", sa.Numeric(), nullable=True),
        sa.Column("caught_up_hint", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("caught_up_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("covered_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("covered_all", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("fetched_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fetched_all", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("listing", sa.Text(), nullable=True),
        sa.Column("listing_label", sa.Text(), nullable=True),
        sa.Column("listing_target", sa.Integer(), nullable=True),
        sa.Column("listing_round", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("listing_page_token", sa.Text(), nullable=True),
        sa.Column("listing_floor", sa.Numeric(), nullable=True),
        sa.Column("listed_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_synced_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("verify_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_sync_states_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_sync_states")),
    )
    op.create_table(
        "syncs",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("sync_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("newest_count", sa.Integer(), nullable=True),
        sa.Column("hint_seq", sa.BigInteger(), nullable=False),
        sa.Column("listing_done", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("listed_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stored_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("units_spent", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("verification", sa.Text(), nullable=True),
        sa.Column("missing_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("extra_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("drift_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("digest", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("trace_parent", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_syncs_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "sync_id", name=op.f("pk_syncs")),
    )
    op.create_index(
        "ix_syncs_active", "syncs", ["mailbox_id"], unique=True, postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_table(
        "watches",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("renew_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.mailbox_id"], name=op.f("fk_watches_mailboxes"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_watches")),
    )
    op.create_table(
        "message_contents",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recipients", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("attachments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id", "message_id"],
            ["messages.mailbox_id", "messages.message_id"],
            name=op.f("fk_message_contents_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "message_id", name=op.f("pk_message_contents")),
    )
    op.create_table(
        "message_search",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("vector", postgresql.TSVECTOR(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id", "message_id"],
            ["messages.mailbox_id", "messages.message_id"],
            name=op.f("fk_message_search_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "message_id", name=op.f("pk_message_search")),
    )
    op.create_index(
        "ix_message_search_vector",
        "message_search",
        ["vector"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "on", "gin_pending_list_limit": 1024},
    )


def downgrade() -> None:
    op.drop_index(
        "ix_message_search_vector",
        table_name="message_search",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "on", "gin_pending_list_limit": 1024},
    )
    op.drop_table("message_search")
    op.drop_table("message_contents")
    op.drop_table("watches")
    op.drop_index("ix_syncs_active", table_name="syncs", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_table("syncs")
    op.drop_table("sync_states")
    op.drop_table("listed_ids")
    op.drop_index("ix_messages_thread", table_name="messages")
    op.drop_index("ix_messages_newest_first", table_name="messages")
    op.drop_index(
        "ix_messages_label_ids", table_name="messages", postgresql_using="gin", postgresql_with={"fastupdate": "off"}
    )
    op.drop_table("messages")
    op.drop_table("message_changes")
    op.drop_index(op.f("ix_mailbox_schedule_lane_due_at"), table_name="mailbox_schedule")
    op.drop_table("mailbox_schedule")
    op.drop_table("labels")
    op.drop_index(op.f("ix_fetch_queue_mailbox_id_thread_id"), table_name="fetch_queue")
    op.drop_index(op.f("ix_fetch_queue_mailbox_id_lane_ordinal"), table_name="fetch_queue")
    op.drop_table("fetch_queue")
    op.drop_table("dead_letters")
    op.drop_table("change_feeds")
    op.drop_table("workers")
    op.drop_index("ix_user_deletions_active", table_name="user_deletions", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_table("user_deletions")
    op.drop_index(op.f("ix_mailboxes_user_id"), table_name="mailboxes")
    op.drop_index("ix_mailboxes_lower_email", table_name="mailboxes")
    op.drop_table("mailboxes")
    op.drop_index(op.f("ix_disconnections_user_id"), table_name="disconnections")
    op.drop_table("disconnections")
