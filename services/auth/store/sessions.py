"""Queries of the tables `sessions` and `refresh_tokens`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, delete, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import UNKNOWN_CLIENT, Client
from services.auth.store.tables import ended_sessions, refresh_tokens, sessions, users


@dataclass(frozen=True)
class SessionRecord:
    """A session."""

    session_id: UUID
    user_id: UUID
    # The time of the sign-in.
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    # The client that used it last.
    client: Client = UNKNOWN_CLIENT


@dataclass(frozen=True)
class RefreshTokenRecord:
    """A refresh token, which is found by its digest."""

    spent_at: datetime | None


class SessionQueries:
    """The queries of sessions in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, session: SessionRecord, *, token_digest: bytes) -> bool:
        """Add a session with its first refresh token; return false if the user does not exist."""
        values = {
            "session_id": session.session_id,
            "created_at": session.created_at,
            "used_at": session.used_at,
            "expires_at": session.expires_at,
            **_client_values(session.client),
        }
        owner = select(users.c.user_id, *[literal(value, sessions.c[name].type) for name, value in values.items()])
        owner = owner.where(users.c.user_id == session.user_id).with_for_update(read=True, key_share=True)
        added = await self._connection.execute(insert(sessions).from_select(["user_id", *values], owner))
        if added.rowcount == 0:
            return False
        await self._add_token(session.session_id, token_digest)
        return True

    async def lock(self, session_id: UUID) -> SessionRecord | None:
        """Return the session, locked until the transaction ends."""
        return await self._find(select(sessions).where(sessions.c.session_id == session_id).with_for_update())

    async def find(self, session_id: UUID) -> SessionRecord | None:
        """Return the session."""
        return await self._find(select(sessions).where(sessions.c.session_id == session_id))

    async def list_live(
        self, user_id: UUID, *, now: datetime, unused_since: datetime, limit: int
    ) -> list[SessionRecord]:
        """Return a user's sessions that go on, the last used one first."""
        query = select(sessions).where(
            sessions.c.user_id == user_id, sessions.c.expires_at > now, sessions.c.used_at > unused_since
        )
        rows = await self._connection.execute(query.order_by(sessions.c.used_at.desc()).limit(limit))
        return [_record(row) for row in rows]

    async def find_token(self, session_id: UUID, token_digest: bytes) -> RefreshTokenRecord | None:
        """Return a refresh token of the session: the valid one, or one that was spent a moment ago."""
        query = select(refresh_tokens.c.spent_at).where(
            refresh_tokens.c.session_id == session_id, refresh_tokens.c.token_digest == token_digest
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else RefreshTokenRecord(row.spent_at)

    async def rotate(
        self,
        session_id: UUID,
        *,
        spent: bytes,
        successor: bytes,
        now: datetime,
        forget_before: datetime,
        client: Client,
    ) -> None:
        """Replace a token by its successor, and delete tokens that were spent before `forget_before`."""
        await self._connection.execute(
            delete(refresh_tokens).where(
                refresh_tokens.c.session_id == session_id, refresh_tokens.c.spent_at < forget_before
            )
        )
        await self._connection.execute(
            update(refresh_tokens).where(refresh_tokens.c.token_digest == spent).values(spent_at=now)
        )
        await self._add_token(session_id, successor)
        values = {"used_at": now, **_client_values(client)}
        await self._connection.execute(update(sessions).where(sessions.c.session_id == session_id).values(values))

    async def end(self, session_id: UUID) -> int:
        """Delete a session with its refresh tokens; return the number of deleted sessions."""
        return await self._end(sessions.c.session_id == session_id)

    async def end_all(self, user_id: UUID) -> int:
        """Delete all sessions of a user; return their number."""
        return await self._end(sessions.c.user_id == user_id)

    async def end_for_deletion(self, user_id: UUID) -> int:
        """Delete all sessions of a user who is being deleted; return their number.

        Their access tokens live on, so that the request to delete the user can be repeated with the same one.
        """
        return (await self._connection.execute(delete(sessions).where(sessions.c.user_id == user_id))).rowcount

    async def list_ended(self, *, since: datetime) -> list[UUID]:
        """Return the sessions that were ended since, expired ones aside."""
        rows = await self._connection.execute(
            select(ended_sessions.c.session_id).where(ended_sessions.c.ended_at >= since)
        )
        return [row.session_id for row in rows]

    async def forget_ended(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` records of sessions that were ended before that time; return their number."""
        old = select(ended_sessions.c.session_id).where(ended_sessions.c.ended_at < before).limit(limit)
        statement = delete(ended_sessions).where(ended_sessions.c.session_id.in_(old.scalar_subquery()))
        return (await self._connection.execute(statement)).rowcount

    async def forget_expired(self, *, now: datetime, unused_since: datetime, limit: int) -> int:
        """Delete up to `limit` expired or unused sessions; return their number."""
        is_over = or_(sessions.c.expires_at <= now, sessions.c.used_at <= unused_since)
        over = select(sessions.c.session_id).where(is_over).limit(limit)
        statement = delete(sessions).where(sessions.c.session_id.in_(over.scalar_subquery()))
        return (await self._connection.execute(statement)).rowcount

    async def _end(self, which: ColumnElement[bool]) -> int:
        ended = delete(sessions).where(which).returning(sessions.c.session_id).cte("ended")
        records = insert(ended_sessions).from_select(["session_id"], select(ended.c.session_id))
        return (await self._connection.execute(records.on_conflict_do_nothing())).rowcount

    async def _find(self, query: Select[Any]) -> SessionRecord | None:
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _record(row)

    async def _add_token(self, session_id: UUID, token_digest: bytes) -> None:
        values = {"token_digest": token_digest, "session_id": session_id}
        await self._connection.execute(insert(refresh_tokens).values(values))


def _record(row: Row[Any]) -> SessionRecord:
    client = Client(row.client_address or "", row.user_agent or "")
    return SessionRecord(row.session_id, row.user_id, row.created_at, row.used_at, row.expires_at, client)


def _client_values(client: Client) -> dict[str, str | None]:
    return {"client_address": client.address or None, "user_agent": client.user_agent or None}
