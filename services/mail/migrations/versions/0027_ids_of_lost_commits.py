"""Ids of lost commits, which another message must not get."""

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"

# As services/mail/store/changes.py has it.
_DATABASE_ID = """
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), oid,
        left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
    FROM pg_database WHERE datname = current_database()
"""


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md).

    The function belongs to the owner of the sequences, and does the same for all: processes may execute it. It returns
    whether it skipped ids; null: it cannot tell, or must not write, yet.
    """
    op.create_table(
        "id_origin",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("database_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_id_origin")),
    )
    op.execute(f"INSERT INTO id_origin (database_id) {_DATABASE_ID}")
    op.execute(
        f"""
        CREATE FUNCTION skip_lost_ids() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = public, pg_temp AS $$
        DECLARE
            here text;
            given record;
        BEGIN
            IF pg_is_in_recovery() THEN
                RETURN NULL;
            END IF;
            here := ({_DATABASE_ID});
            IF here = (SELECT database_id FROM id_origin) THEN
                RETURN false;
            ELSIF current_setting('transaction_read_only') = 'on' THEN
                RETURN NULL;
            END IF;
            PERFORM FROM id_origin FOR UPDATE;
            IF here = (SELECT database_id FROM id_origin) THEN
                RETURN false;
            END IF;
            FOR given IN VALUES ('messages', 'message_id', 32), ('syncs', 'sync_id', 32), ('mailboxes', 'mailbox_id', 20)
            LOOP
                PERFORM setval(sequence, nextval(sequence) + (1::bigint << given.column3))
                FROM pg_get_serial_sequence(given.column1, given.column2) AS of(sequence);
            END LOOP;
            UPDATE id_origin SET database_id = here;
            RETURN true;
        END $$
        """  # noqa: S608 - a constant
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.execute("DROP FUNCTION skip_lost_ids()")
    op.drop_table("id_origin")
