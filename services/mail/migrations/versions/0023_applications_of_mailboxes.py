"""Applications of mailboxes."""

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"

_DEFAULT = "00000000-0000-4000-8000-000000000000"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for table in ("mailboxes", "disconnections"):
        column = sa.Column("application_id", sa.Uuid(), server_default=sa.text(f"'{_DEFAULT}'"), nullable=False)
        op.add_column(table, column, if_not_exists=True)
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_mailboxes_application_id_mailbox_id",
            "mailboxes",
            ["application_id", "mailbox_id"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_mailboxes_application_id_mailbox_id", table_name="mailboxes")
    for table in ("mailboxes", "disconnections"):
        op.drop_column(table, "application_id")
