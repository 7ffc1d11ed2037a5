"""Queries of the table `connect_sessions`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Access, ConnectSession, ConnectState
from services.auth.store.tables import connect_sessions


class ConnectSessionQueries:
    """The queries of connect sessions in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, session: ConnectSession, *, token_digest: bytes) -> None:
        """Add a session, which a token of this digest opens."""
        values = {
            "session_id": session.session_id,
            "application_id": session.application_id,
            "user_id": session.user_id,
            "provider": session.provider,
            "access": sorted(session.access),
            "login_hint": session.login_hint,
            "redirect_url": session.redirect_url,
            "token_digest": token_digest,
            "state": session.state,
            "expires_at": session.expires_at,
        }
        await self._connection.execute(insert(connect_sessions).values(values))

    async def find(self, session_id: UUID) -> ConnectSession | None:
        """Return the session."""
        query = select(connect_sessions).where(connect_sessions.c.session_id == session_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _session_of(row)

    async def find_by_token(self, token_digest: bytes) -> ConnectSession | None:
        """Return the session that a token of this digest opens."""
        query = select(connect_sessions).where(connect_sessions.c.token_digest == token_digest)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _session_of(row)

    async def set_consented(
        self, session_id: UUID, *, grant_id: UUID, code_digest: bytes, not_before: datetime, expires_at: datetime
    ) -> bool:
        """Record a first consent to a session that did not expire before `not_before`; return whether it is that."""
        statement = update(connect_sessions).where(
            connect_sessions.c.session_id == session_id,
            connect_sessions.c.state == ConnectState.CREATED,
            connect_sessions.c.expires_at > not_before,
        )
        values = {
            "state": ConnectState.CONSENTED,
            "grant_id": grant_id,
            "code_digest": code_digest,
            "expires_at": expires_at,
        }
        return (await self._connection.execute(statement.values(values))).rowcount > 0

    async def set_completed(self, session_id: UUID, *, account_id: UUID, expires_at: datetime) -> None:
        """Record that the account was connected."""
        statement = update(connect_sessions).where(connect_sessions.c.session_id == session_id)
        values = {"state": ConnectState.COMPLETED, "account_id": account_id, "expires_at": expires_at}
        await self._connection.execute(statement.values(values))

    async def remove_all(self, application_id: UUID) -> None:
        """Delete the sessions of an application."""
        await self._connection.execute(
            delete(connect_sessions).where(connect_sessions.c.application_id == application_id)
        )

    async def forget(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` sessions that expired before that time; return their number."""
        old = select(connect_sessions.c.session_id).where(connect_sessions.c.expires_at < before).limit(limit)
        statement = delete(connect_sessions).where(connect_sessions.c.session_id.in_(old.scalar_subquery()))
        return (await self._connection.execute(statement)).rowcount


def _session_of(row: Row[Any]) -> ConnectSession:
    return ConnectSession(
        session_id=row.session_id,
        application_id=row.application_id,
        user_id=row.user_id,
        provider=row.provider,
        access=frozenset(map(Access, row.access)),
        login_hint=row.login_hint,
        redirect_url=row.redirect_url,
        state=ConnectState(row.state),
        expires_at=row.expires_at,
        grant_id=row.grant_id,
        code_digest=row.code_digest,
        account_id=row.account_id,
    )
