"""Applications, to which users and accounts belong."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"

_DEFAULT = "00000000-0000-4000-8000-000000000000"


def _owner() -> sa.Column[object]:
    return sa.Column("application_id", sa.Uuid(), server_default=sa.text(f"'{_DEFAULT}'"), nullable=False)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "applications",
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("redirect_urls", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("application_id", name=op.f("pk_applications")),
        sa.UniqueConstraint("name", name=op.f("uq_applications_name")),
    )
    op.execute(f"INSERT INTO applications (application_id, name) VALUES ('{_DEFAULT}', 'default')")  # noqa: S608 - a constant
    op.add_column("users", _owner())
    op.add_column("users", sa.Column("external_user_id", sa.Text(), nullable=True))
    # The release before looks users up by both columns, and reads neither.
    for column in ("login_provider", "login_subject"):
        op.execute(f"-- squawk-ignore ban-drop-not-null\nALTER TABLE users ALTER COLUMN {column} DROP NOT NULL")
    op.add_column("accounts", _owner())
    op.add_column("accounts", sa.Column("grant_account_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("accounts", "grant_account_id")
    op.drop_column("accounts", "application_id")
    op.alter_column("users", "login_subject", nullable=False)
    op.alter_column("users", "login_provider", nullable=False)
    op.drop_column("users", "external_user_id")
    op.drop_column("users", "application_id")
    op.drop_table("applications")
