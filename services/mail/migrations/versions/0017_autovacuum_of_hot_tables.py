"""Autovacuum of hot tables."""

from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"

# By table; services/mail/store/tables.py has the reasons.
_PARAMETERS: dict[str, dict[str, float]] = {
    "mailboxes": {"vacuum_scale_factor": 0.05, "vacuum_threshold": 1000},
    "sync_states": {"vacuum_scale_factor": 0.02, "vacuum_threshold": 1000},
    "mailbox_schedule": {"vacuum_scale_factor": 0, "vacuum_threshold": 1000, "vacuum_cost_delay": 0},
    "fetch_queue": {"vacuum_scale_factor": 0.05, "vacuum_threshold": 1000},
    "messages": {
        "vacuum_scale_factor": 0.02,
        "vacuum_threshold": 1000,
        "vacuum_insert_scale_factor": 0.05,
        "analyze_scale_factor": 0.05,
    },
    "message_changes": {"vacuum_scale_factor": 0.02, "vacuum_threshold": 1000},
}


def upgrade() -> None:
    """Apply the change; the release before this one runs on the result (docs/migrations.md)."""
    for table, parameters in _PARAMETERS.items():
        settings = ", ".join(f"autovacuum_{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    """Take the change back, in development."""
    for table, parameters in _PARAMETERS.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(f'autovacuum_{name}' for name in parameters)})")
