"""Connect sessions of applications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0015"
down_revision: str | None = "0014"

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "connect_sessions",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("access", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("login_hint", sa.Text(), nullable=False),
        sa.Column("redirect_url", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=True),
        sa.Column("code_digest", sa.LargeBinary(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('created', 'consented', 'completed')", name=op.f("ck_connect_sessions_state")),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.application_id"], name=op.f("fk_connect_sessions_applications")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_connect_sessions_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_connect_sessions")),
    )
    op.create_index(op.f("ix_connect_sessions_token_digest"), "connect_sessions", ["token_digest"], unique=True)
    op.create_index(op.f("ix_connect_sessions_application_id"), "connect_sessions", ["application_id"], unique=False)
    op.create_index(op.f("ix_connect_sessions_user_id"), "connect_sessions", ["user_id"], unique=False)
    op.create_index(op.f("ix_connect_sessions_expires_at"), "connect_sessions", ["expires_at"], unique=False)


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_table("connect_sessions")
