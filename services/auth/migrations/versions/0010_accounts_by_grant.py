"""Accounts by the account that holds their grant."""

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_accounts_grant_account_id",
            "accounts",
            ["grant_account_id"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_accounts_grant_account_id", table_name="accounts")
