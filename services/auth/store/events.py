"""Queries of the table `security_events`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ScalarSelect, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Client, EventType, RecordedEvent, SecurityEvent
from services.auth.store.tables import security_events, users


class EventQueries:
    """The queries of events in a transaction, so that a change and its event are stored together."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, event: SecurityEvent) -> None:
        """Add an event."""
        values = {
            "user_id": event.user_id,
            "type": event.type,
            "account_id": event.account_id,
            "session_id": event.session_id,
            "email": event.email,
            "client_address": event.client.address or None,
            "user_agent": event.client.user_agent or None,
            "application_id": event.application_id or _application_of(event.user_id),
        }
        await self._connection.execute(insert(security_events).values(values))

    async def has(self, user_id: UUID, type_: EventType) -> bool:
        """Return whether the user has an event of this type."""
        query = select(security_events.c.event_id).where(
            security_events.c.user_id == user_id, security_events.c.type == type_
        )
        return (await self._connection.execute(query.limit(1))).first() is not None

    async def list_newest(self, user_id: UUID, *, before: int | None, limit: int) -> list[RecordedEvent]:
        """Return a user's events with ids below `before`, newest first."""
        query = select(security_events).where(security_events.c.user_id == user_id)
        if before is not None:
            query = query.where(security_events.c.event_id < before)
        rows = await self._connection.execute(query.order_by(security_events.c.event_id.desc()).limit(limit))
        return [
            RecordedEvent(
                row.event_id,
                row.created_at,
                SecurityEvent(
                    row.user_id,
                    row.type,
                    row.account_id,
                    row.session_id,
                    row.email,
                    Client(row.client_address or "", row.user_agent or ""),
                ),
            )
            for row in rows
        ]

    async def forget_user(self, user_id: UUID) -> None:
        """Delete the events of a user."""
        await self._connection.execute(delete(security_events).where(security_events.c.user_id == user_id))

    async def forget_before(self, moment: datetime, *, limit: int) -> int:
        """Delete up to `limit` events from before that time; return their number."""
        old = select(security_events.c.event_id).where(security_events.c.created_at < moment).limit(limit)
        statement = delete(security_events).where(security_events.c.event_id.in_(old.scalar_subquery()))
        return (await self._connection.execute(statement)).rowcount

    async def fill_applications(self, *, limit: int) -> int:
        """Set the application of up to `limit` events of a release that recorded none; return their number."""
        unfilled = (
            select(security_events.c.event_id)
            .join(users, users.c.user_id == security_events.c.user_id)
            .where(security_events.c.application_id.is_(None))
            .limit(limit)
        )
        statement = update(security_events).where(
            security_events.c.event_id.in_(unfilled.scalar_subquery()), users.c.user_id == security_events.c.user_id
        )
        return (await self._connection.execute(statement.values(application_id=users.c.application_id))).rowcount


def _application_of(user_id: UUID) -> ScalarSelect[UUID]:
    return select(users.c.application_id).where(users.c.user_id == user_id).scalar_subquery()
