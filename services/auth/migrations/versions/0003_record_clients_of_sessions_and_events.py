"""Record clients of sessions and events."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"

_TABLES = ("sessions", "security_events")
_COLUMNS = ("client_address", "user_agent")


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for table in _TABLES:
        for column in _COLUMNS:
            op.add_column(table, sa.Column(column, sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the change back, in development."""
    for table in _TABLES:
        for column in _COLUMNS:
            op.drop_column(table, column)
