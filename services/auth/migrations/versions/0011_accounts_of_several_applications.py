"""Let several applications connect one account of a provider."""

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    # The release before makes accounts of the default application only, which the index of 0007 holds to one a subject.
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE accounts DROP CONSTRAINT uq_accounts_provider_subject"
    )


def downgrade() -> None:
    """Take the change back, in development."""
    op.create_unique_constraint("uq_accounts_provider_subject", "accounts", ["provider", "subject"])
