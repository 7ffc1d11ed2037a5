"""Mailboxes of several applications on one account of a provider."""

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for column in ("provider_identity", "limits_identity"):
        op.add_column("mailboxes", sa.Column(column, sa.Text(), nullable=True), if_not_exists=True)
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_mailboxes_provider_identity",
            "mailboxes",
            ["provider_identity"],
            unique=False,
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_mailboxes_provider_identity", table_name="mailboxes")
    for column in ("limits_identity", "provider_identity"):
        op.drop_column("mailboxes", column)
