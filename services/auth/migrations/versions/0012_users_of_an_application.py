"""Users of an application by their ids."""

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_users_application_id_user_id",
            "users",
            ["application_id", "user_id"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_users_application_id_user_id", table_name="users")
