"""The newest accounts of an application."""

from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_accounts_application_id_created_at",
            "accounts",
            ["application_id", "created_at"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_accounts_application_id_created_at", table_name="accounts")
