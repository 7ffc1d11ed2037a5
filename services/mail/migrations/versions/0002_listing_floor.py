"""the cursor at which a listing began"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("sync_states", sa.Column("listing_floor", sa.Numeric(), nullable=True))


def downgrade() -> None:
    op.drop_column("sync_states", "listing_floor")
