<%!
def body(statements):
    """The statements without Alembic's own comments."""
    kept = [line for line in (statements or "").splitlines() if not line.lstrip().startswith("# ###")]
    return "\n".join(kept).strip() or "pass"
%>\
"""${message[0].upper()}${message[1:]}."""

import sqlalchemy as sa
from alembic import op
${imports or ""}

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    ${body(upgrades)}


def downgrade() -> None:
    """Take the change back, in development."""
    ${body(downgrades)}
