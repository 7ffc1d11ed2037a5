"""The migrations on a filled database of the release before applications."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

import services
from deploy.local.postgres import Database
from services.auth.model import DEFAULT_APPLICATION
from services.kit.stores.postgres import connect
from tests.auth.conftest import _owner

# The statements of the release of 8782a30, on which the databases in use stand.
OLD_RELEASE = "0003"
ADD_USER = "INSERT INTO users (user_id, login_provider, login_subject) VALUES ($1, 'google', $2)"
ADD_ACCOUNT = """
    INSERT INTO accounts (account_id, user_id, provider, subject, email, status)
    VALUES ($1, $2, 'google', $3, 'ada@example.com', 'active')
"""
PUT_TOKENS = """
    INSERT INTO provider_tokens (account_id, access_token, access_token_expires_at, refresh_token, scopes)
    VALUES ($1, $2, $3, $4, '{openid}')
    ON CONFLICT (account_id) DO UPDATE SET access_token = excluded.access_token, version = provider_tokens.version + 1
"""
ADD_SESSION = "INSERT INTO sessions (session_id, user_id, expires_at) VALUES ($1, $2, 'infinity')"
FIND_TOKENS = """
    SELECT a.account_id, t.access_token FROM accounts a JOIN provider_tokens t USING (account_id)
    WHERE a.account_id = $1 AND a.user_id = $2
"""
COUNT = "SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM provider_tokens) AS tokens"


def _run(database: Database, *arguments: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "AUTH_POSTGRES_HOST": database.server.host,
        "AUTH_POSTGRES_PORT": str(database.server.port),
        "AUTH_POSTGRES_USER": database.server.user,
        "AUTH_POSTGRES_PASSWORD": database.server.password,
        "AUTH_POSTGRES_DB": database.name,
    }
    root = Path(services.__path__[0]).parent
    command = [sys.executable, "-m", "services.auth.migrations", *arguments]
    subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True)


async def _add_connected_user(connection: asyncpg.Connection, number: int) -> tuple[UUID, UUID]:
    """Add a user with an account, tokens and a session, as the release before did; return both ids."""
    user_id, account_id = uuid4(), uuid4()
    await connection.execute(ADD_USER, user_id, f"subject {number}")
    await connection.execute(ADD_ACCOUNT, account_id, user_id, f"subject {number}")
    await connection.execute(PUT_TOKENS, account_id, f"access {number}".encode(), datetime.now(UTC), b"refresh")
    await connection.execute(ADD_SESSION, uuid4(), user_id)
    return user_id, account_id


async def _old_rows(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    """Return all that the release before knew of users, accounts, tokens and sessions."""
    rows = await connection.fetch(
        """
        SELECT u.user_id, u.login_provider, u.login_subject, a.account_id, a.subject, a.email, a.status,
            t.access_token, t.refresh_token, t.version, s.session_id
        FROM users u JOIN accounts a USING (user_id) JOIN provider_tokens t USING (account_id)
        JOIN sessions s USING (user_id) ORDER BY u.user_id
        """
    )
    return [tuple(row) for row in rows]


class TestApplications:
    async def test_take_over_the_rows_of_the_release_before(self, create_database: Callable[[str], Database]) -> None:
        database = create_database("auth_upgraded")
        await asyncio.to_thread(_run, database, "upgrade")
        await asyncio.to_thread(_run, database, "downgrade", OLD_RELEASE)
        connection = await connect(_owner(database))
        try:
            for number in range(20):
                await _add_connected_user(connection, number)
            before = await _old_rows(connection)
            await asyncio.to_thread(_run, database, "upgrade")
            assert await _old_rows(connection) == before
            for table in ("users", "accounts"):
                owners = await connection.fetch(f"SELECT DISTINCT application_id FROM {table}")  # noqa: S608 - a constant
                assert [row["application_id"] for row in owners] == [DEFAULT_APPLICATION]
            assert await connection.fetchval("SELECT count(*) FROM accounts WHERE grant_account_id IS NOT NULL") == 0
        finally:
            await connection.close()

    async def test_let_the_release_before_go_on(self, create_database: Callable[[str], Database]) -> None:
        database = create_database("auth_beside")
        await asyncio.to_thread(_run, database, "upgrade")
        connection = await connect(_owner(database))
        try:
            user_id, account_id = await _add_connected_user(connection, 1)
            found = await connection.fetchrow(FIND_TOKENS, account_id, user_id)
            assert found is not None
            assert found["access_token"] == b"access 1"
            await connection.execute("DELETE FROM accounts WHERE account_id = $1", account_id)
            assert tuple(await connection.fetchrow(COUNT) or ()) == (0, 0)
            await connection.execute("DELETE FROM users WHERE user_id = $1", user_id)
        finally:
            await connection.close()
