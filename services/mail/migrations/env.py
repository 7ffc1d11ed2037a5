"""Alembic's entry: what the mail service's tables should look like."""

from services.kit.stores.migrations import run_env
from services.mail.store.tables import metadata

run_env(metadata)
