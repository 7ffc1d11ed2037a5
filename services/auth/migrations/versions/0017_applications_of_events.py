"""The applications of events, of which each has a list."""

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"

_TABLES = ("api_key_events", "security_events")


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for table in _TABLES:
        op.add_column(table, sa.Column("application_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    for table in _TABLES:
        op.drop_column(table, "application_id")
