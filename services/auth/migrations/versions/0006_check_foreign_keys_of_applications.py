"""Check the foreign keys of applications and grants on the rows that exist."""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.execute("ALTER TABLE users VALIDATE CONSTRAINT fk_users_applications")
    op.execute("ALTER TABLE accounts VALIDATE CONSTRAINT fk_accounts_applications")
    op.execute("ALTER TABLE accounts VALIDATE CONSTRAINT fk_accounts_accounts")


def downgrade() -> None:
    """Leave the keys as they are."""
