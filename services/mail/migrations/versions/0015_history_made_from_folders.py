"""History made from folders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0015"
down_revision: str | None = "0014"

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "folder_histories",
        sa.Column("mailbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pass_number", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_folder_histories")),
        _of_mailbox("folder_histories"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "mail_folders",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("folder_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("known", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("looked_pass", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_retiring", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_gone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("missing_since", _TIME, nullable=True),
        sa.Column("failing_since", _TIME, nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("doubtful_in", sa.BigInteger(), nullable=True),
        sa.Column("restarted_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("mailbox_id", "folder_id", name=op.f("pk_mail_folders")),
        _of_mailbox("mail_folders"),
        postgresql_with={"fillfactor": 70},
    )
    where = sa.text("NOT is_gone")
    op.create_index("ix_mail_folders_key", "mail_folders", ["mailbox_id", "key"], unique=True, postgresql_where=where)
    op.create_table(
        "mail_locations",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("folder_id", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("arrived_at", _TIME, nullable=False),
        sa.Column("marks", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("gone_in", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("mailbox_id", "folder_id", "generation", "key", name=op.f("pk_mail_locations")),
        _of_mailbox("mail_locations"),
    )
    for name, column, where in (
        ("external_id", "external_id", sa.text("external_id IS NOT NULL")),
        ("gone", "size", sa.text("gone_in IS NOT NULL")),
        ("unidentified", "size", sa.text("external_id IS NULL")),
    ):
        op.create_index(f"ix_mail_locations_{name}", "mail_locations", ["mailbox_id", column], postgresql_where=where)
    op.create_table(
        "folder_records",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("added", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("removed", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", "revision", name=op.f("pk_folder_records")),
        _of_mailbox("folder_records"),
    )


def _of_mailbox(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_mailboxes")
    return sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    """Take the change back, in development."""
    for table in ("folder_records", "mail_locations", "mail_folders", "folder_histories"):
        op.drop_table(table)
