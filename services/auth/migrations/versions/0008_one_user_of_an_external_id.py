"""One user of an external id in each application."""

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_users_application_id_external_user_id",
            "users",
            ["application_id", "external_user_id"],
            unique=True,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_users_application_id_external_user_id", table_name="users")
