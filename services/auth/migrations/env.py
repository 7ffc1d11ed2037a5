"""Alembic's entry to this service's migrations."""

from services.auth.store.tables import metadata
from services.kit.stores.migrations import run_env

run_env(metadata)
