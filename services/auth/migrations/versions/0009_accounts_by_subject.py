"""Accounts by their subject at the provider, whatever their application."""

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_accounts_provider_subject",
            "accounts",
            ["provider", "subject"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_accounts_provider_subject", table_name="accounts")
