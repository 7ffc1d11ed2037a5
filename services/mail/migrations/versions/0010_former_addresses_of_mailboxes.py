"""Former addresses of mailboxes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.add_column(
        "mailboxes",
        sa.Column("former_emails", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        if_not_exists=True,
    )
    op.add_column(
        "mailboxes",
        sa.Column("address_check_due", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        if_not_exists=True,
    )
    op.add_column(
        "mailboxes",
        sa.Column("address_checked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        if_not_exists=True,
    )
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_mailboxes_former_emails",
            "mailboxes",
            ["former_emails"],
            postgresql_using="gin",
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_mailboxes_former_emails", table_name="mailboxes")
    op.drop_column("mailboxes", "address_checked_at")
    op.drop_column("mailboxes", "address_check_due")
    op.drop_column("mailboxes", "former_emails")
