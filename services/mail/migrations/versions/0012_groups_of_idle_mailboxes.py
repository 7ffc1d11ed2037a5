"""Groups of idle mailboxes, and how active and announced each mailbox is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "idle_groups",
        sa.Column("group_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checked_at", _TIME, server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("all_seen_at", _TIME, server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_idle_groups")),
        postgresql_with={"fillfactor": 10},
        if_not_exists=True,
    )
    op.add_column("mailbox_schedule", sa.Column("look_at", _TIME, nullable=True), if_not_exists=True)
    op.add_column(
        "mailbox_schedule",
        sa.Column("active_at", _TIME, server_default=sa.text("now()"), nullable=False),
        if_not_exists=True,
    )
    op.add_column("mailbox_schedule", sa.Column("announced_at", _TIME, nullable=True), if_not_exists=True)
    op.add_column("mailbox_schedule", sa.Column("missed_at", _TIME, nullable=True), if_not_exists=True)
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_mailbox_schedule_look_at",
            "mailbox_schedule",
            ["look_at"],
            postgresql_where=sa.text("look_at IS NOT NULL"),
            if_not_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_mailbox_schedule_look_at", table_name="mailbox_schedule")
    for name in ("missed_at", "announced_at", "active_at", "look_at"):
        op.drop_column("mailbox_schedule", name)
    op.drop_table("idle_groups")
