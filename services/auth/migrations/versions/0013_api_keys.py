"""API keys, their events, and the sessions that ended a moment ago."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"

_TIME = postgresql.TIMESTAMP(timezone=True)
_TEXTS = postgresql.ARRAY(sa.Text())


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", _TEXTS, nullable=False),
        sa.Column("mailbox_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("networks", _TEXTS, nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.Column("used_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.application_id"], name=op.f("fk_api_keys_applications")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_application_id"), "api_keys", ["application_id"], unique=False)
    op.create_index(op.f("ix_api_keys_revoked_at"), "api_keys", ["revoked_at"], unique=False)
    op.create_table(
        "api_key_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("client_address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_api_key_events")),
    )
    op.create_index(op.f("ix_api_key_events_key_id_event_id"), "api_key_events", ["key_id", "event_id"], unique=False)
    op.create_index(op.f("ix_api_key_events_created_at"), "api_key_events", ["created_at"], unique=False)
    op.create_table(
        "ended_sessions",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("ended_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_ended_sessions")),
    )
    op.create_index(op.f("ix_ended_sessions_ended_at"), "ended_sessions", ["ended_at"], unique=False)


def downgrade() -> None:
    """Take the change back, in development."""
    for table in ("ended_sessions", "api_key_events", "api_keys"):
        op.drop_table(table)
