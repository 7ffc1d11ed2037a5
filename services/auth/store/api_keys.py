"""Queries of the tables `api_keys` and `api_key_events`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import ApiKey, Client, KeyEvent, KeyEventType
from services.auth.store.tables import api_key_events, api_keys
from services.kit.scopes import Scope


class ApiKeyQueries:
    """The queries of API keys and their events in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, key: ApiKey, *, digest: bytes) -> None:
        """Add a key, of which the digest is kept."""
        values = {
            "key_id": key.key_id,
            "application_id": key.application_id,
            "name": key.name,
            "digest": digest,
            "scopes": sorted(key.scopes),
            "mailbox_ids": None if key.mailbox_ids is None else list(key.mailbox_ids),
            "networks": None if key.networks is None else list(key.networks),
            "created_by": key.created_by,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        await self._connection.execute(insert(api_keys).values(values))

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """Return a key, revoked ones too, with its digest."""
        row = (await self._connection.execute(select(api_keys).where(api_keys.c.key_id == key_id))).one_or_none()
        return None if row is None else (_key_of(row), bytes(row.digest))

    async def list_of(self, application_id: UUID, *, now: datetime, limit: int) -> list[ApiKey]:
        """Return the keys of an application: the live ones first, of either the newest first."""
        query = select(api_keys).where(api_keys.c.application_id == application_id)
        rows = await self._connection.execute(
            query.order_by(_is_live(now).desc(), api_keys.c.created_at.desc()).limit(limit)
        )
        return [_key_of(row) for row in rows]

    async def count_live(self, application_id: UUID, *, now: datetime) -> int:
        """Return the number of keys of an application that are neither revoked nor expired."""
        query = select(func.count()).where(api_keys.c.application_id == application_id, _is_live(now))
        return (await self._connection.execute(query)).scalar_one()

    async def revoke(self, key_id: str, *, application_id: UUID | None, now: datetime) -> bool:
        """Revoke a key of the application; an operator key has none. Return whether it had not been revoked before."""
        statement = update(api_keys).where(
            api_keys.c.key_id == key_id,
            api_keys.c.application_id.is_not_distinct_from(application_id),
            api_keys.c.revoked_at.is_(None),
        )
        return (await self._connection.execute(statement.values(revoked_at=now))).rowcount > 0

    async def set_used(self, key_id: str, *, now: datetime) -> None:
        """Record that a key was used."""
        await self._connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(used_at=now))

    async def revoke_all(self, application_id: UUID, *, now: datetime) -> list[str]:
        """Revoke the keys of an application; return the ids of those that were not revoked before."""
        statement = update(api_keys).where(api_keys.c.application_id == application_id, api_keys.c.revoked_at.is_(None))
        rows = await self._connection.execute(statement.values(revoked_at=now).returning(api_keys.c.key_id))
        return list(rows.scalars())

    async def remove_all(self, application_id: UUID) -> None:
        """Delete the keys of an application with their events."""
        own = select(api_keys.c.key_id).where(api_keys.c.application_id == application_id)
        await self._connection.execute(delete(api_key_events).where(api_key_events.c.key_id.in_(own)))
        await self._connection.execute(delete(api_keys).where(api_keys.c.application_id == application_id))

    async def list_revoked(self, *, since: datetime) -> list[str]:
        """Return the ids of keys that were revoked since."""
        rows = await self._connection.execute(select(api_keys.c.key_id).where(api_keys.c.revoked_at >= since))
        return [row.key_id for row in rows]

    async def add_event(self, key_id: str, type_: KeyEventType, *, now: datetime, client: Client) -> None:
        """Add an event of a key."""
        values = {
            "key_id": key_id,
            "type": type_,
            "created_at": now,
            "client_address": client.address or None,
            "user_agent": client.user_agent or None,
            "application_id": select(api_keys.c.application_id).where(api_keys.c.key_id == key_id).scalar_subquery(),
        }
        await self._connection.execute(insert(api_key_events).values(values))

    async def list_events(self, key_id: str, *, limit: int) -> list[KeyEvent]:
        """Return the events of a key, newest first."""
        query = select(api_key_events).where(api_key_events.c.key_id == key_id)
        rows = await self._connection.execute(query.order_by(api_key_events.c.event_id.desc()).limit(limit))
        return [
            KeyEvent(row.type, row.created_at, Client(row.client_address or "", row.user_agent or "")) for row in rows
        ]

    async def fill_applications_of_events(self, *, limit: int) -> int:
        """Set the application of up to `limit` events of a release that recorded none; return their number."""
        unfilled = (
            select(api_key_events.c.event_id)
            .join(api_keys, api_keys.c.key_id == api_key_events.c.key_id)
            .where(api_key_events.c.application_id.is_(None), api_keys.c.application_id.is_not(None))
            .limit(limit)
        )
        statement = update(api_key_events).where(
            api_key_events.c.event_id.in_(unfilled.scalar_subquery()), api_keys.c.key_id == api_key_events.c.key_id
        )
        return (await self._connection.execute(statement.values(application_id=api_keys.c.application_id))).rowcount

    async def forget_events_before(self, moment: datetime, *, limit: int) -> int:
        """Delete up to `limit` events from before that time; return their number."""
        old = select(api_key_events.c.event_id).where(api_key_events.c.created_at < moment).limit(limit)
        statement = delete(api_key_events).where(api_key_events.c.event_id.in_(old.scalar_subquery()))
        return (await self._connection.execute(statement)).rowcount


def _is_live(now: datetime) -> ColumnElement[bool]:
    has_not_expired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return and_(api_keys.c.revoked_at.is_(None), has_not_expired)


def _key_of(row: Row[Any]) -> ApiKey:
    return ApiKey(
        key_id=row.key_id,
        application_id=row.application_id,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes)),
        mailbox_ids=None if row.mailbox_ids is None else frozenset(row.mailbox_ids),
        networks=None if row.networks is None else tuple(row.networks),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
    )
