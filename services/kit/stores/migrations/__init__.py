"""A service's Alembic migrations: the command, and the environment and template that all services share."""
