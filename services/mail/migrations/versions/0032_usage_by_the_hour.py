"""Usage by the hour."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0032"
down_revision: str | None = "0031"

_MEASURES = (
    *("messages_stored", "changes", "deliveries_delivered", "deliveries_failed", "deliveries_parked"),
    "provider_units",
)


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "usage_hours",
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("hour", postgresql.TIMESTAMP(timezone=True), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in _MEASURES),
        sa.PrimaryKeyConstraint("application_id", "account_id", "hour", name=op.f("pk_usage_hours")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05, "autovacuum_vacuum_threshold": 1000},
    )
    op.create_index("ix_usage_hours_hour", "usage_hours", ["hour"], unique=False)


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_index("ix_usage_hours_hour", table_name="usage_hours")
    op.drop_table("usage_hours")
