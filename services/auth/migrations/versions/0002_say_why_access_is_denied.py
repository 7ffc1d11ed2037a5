"""Say why access is denied."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


# Installations from before 30 November 2026 have other names, under which their processes still use the table.
_RENAME = """
    DO $$ BEGIN
        IF to_regclass('loose_grants') IS NOT NULL THEN
            ALTER TABLE loose_grants RENAME TO grant_revocations;
            ALTER TABLE grant_revocations RENAME COLUMN sealed TO encrypted;
            ALTER TABLE grant_revocations RENAME COLUMN parked TO pending_link;
            ALTER TABLE grant_revocations RENAME CONSTRAINT pk_loose_grants TO pk_grant_revocations;
            ALTER INDEX ix_loose_grants_due_at RENAME TO ix_grant_revocations_due_at;
            CREATE VIEW loose_grants AS
                SELECT grant_id, provider, subject, encrypted AS sealed, pending_link AS parked, due_at, attempts, created_at
                FROM grant_revocations;
        END IF;
    END $$
"""


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.execute(_RENAME)
    op.add_column(
        "accounts", sa.Column("access_denied_reason", sa.Text(), server_default=sa.text("''"), nullable=False)
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_column("accounts", "access_denied_reason")
