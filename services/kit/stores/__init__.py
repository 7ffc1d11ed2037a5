"""Postgres and Redis: pools, clients, their metrics, and migrations."""
