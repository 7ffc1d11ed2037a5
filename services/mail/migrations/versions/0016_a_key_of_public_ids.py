"""A key of public ids."""

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "public_id_key",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("plain_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_public_id_key")),
    )
    # The ids of existing mailboxes stay as clients know them; so do those of the mailboxes that are connected while
    # processes of the release before still run.
    op.execute(
        """
        INSERT INTO public_id_key (key, plain_until)
        SELECT decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), coalesce(max(mailbox_id) + 100, 0)
        FROM mailboxes
        """
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_table("public_id_key")
