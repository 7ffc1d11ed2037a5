"""Foreign keys of applications and grants."""

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"

_KEYS = (
    ("fk_users_applications", "users", "application_id", "applications", "application_id"),
    ("fk_accounts_applications", "accounts", "application_id", "applications", "application_id"),
    ("fk_accounts_accounts", "accounts", "grant_account_id", "accounts", "account_id"),
)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for name, table, column, referred, referred_column in _KEYS:
        op.create_foreign_key(name, table, referred, [column], [referred_column], postgresql_not_valid=True)


def downgrade() -> None:
    """Take the change back, in development."""
    for name, table, *_ in _KEYS:
        op.drop_constraint(name, table, type_="foreignkey")
