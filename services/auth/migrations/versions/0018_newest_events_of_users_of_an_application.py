"""The newest events of the users of an application."""

from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_security_events_application_id_created_at_event_id",
            "security_events",
            ["application_id", "created_at", "event_id"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_security_events_application_id_created_at_event_id", table_name="security_events")
