"""Watermarks of quota, by address at a provider."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    op.create_table(
        "quota_watermarks",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("few_until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("many_until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_quota_watermarks")),
        postgresql_with={"fillfactor": 50},
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.drop_table("quota_watermarks")
