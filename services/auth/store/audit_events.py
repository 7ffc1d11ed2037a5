"""Queries of all events of an application, which stand in the tables `security_events` and `api_key_events`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import (
    ColumnElement,
    Label,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    cast,
    literal,
    null,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from services.auth.model import Client, RecordedEvent, SecurityEvent
from services.auth.store.tables import api_key_events, security_events

KEY_PREFIX = "key_"


class Source(StrEnum):
    """The table of an event; of two at the same time, the one of the later name is newer."""

    KEYS = "keys"
    USERS = "users"


@dataclass(frozen=True)
class Place:
    """The place of an event among those of its application."""

    created_at: datetime
    source: Source
    event_id: int


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """What is listed; None: no limit. `until` is exclusive."""

    type: str | None = None
    user_id: UUID | None = None
    account_id: UUID | None = None
    key_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """An event of a user or of an API key of an application; the other of `user_id` and `key_id` is None."""

    public_id: UUID
    place: Place
    type: str
    user_id: UUID | None
    key_id: str | None
    account_id: UUID | None
    session_id: UUID | None
    email: str | None
    client: Client


class AuditQueries:
    """The query of an application's events in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list_newest(
        self, application_id: UUID, wanted: AuditFilter, *, before: Place | None, limit: int
    ) -> list[AuditEvent]:
        """Return events before a place, newest first."""
        parts = [
            _newest(part, table, source, application_id, wanted, before=before).limit(limit)
            for source, table, part in (
                (Source.USERS, security_events, _of_users(wanted)),
                (Source.KEYS, api_key_events, _of_keys(wanted)),
            )
            if part is not None
        ]
        if not parts:
            return []
        # Each part is limited by itself, so that it reads no more rows of its index than a page has.
        events = union_all(*(select(part.subquery()) for part in parts)).subquery()
        query = select(events).order_by(events.c.created_at.desc(), events.c.source.desc(), events.c.event_id.desc())
        rows = await self._connection.execute(query.limit(limit))
        return [_event_of(row, application_id) for row in rows]


def _of_users(wanted: AuditFilter) -> Select[Any] | None:
    """Return the part of users' events, None where it holds nothing that is wanted."""
    if wanted.key_id is not None:
        return None
    events = security_events.c
    part = select(
        literal(Source.USERS.value).label("source"),
        *(events.event_id, events.created_at, events.type, events.user_id, _none("key_id", Text)),
        *(events.account_id, events.session_id, events.email, events.client_address, events.user_agent),
    )
    for column, value in (
        (events.type, wanted.type),
        (events.user_id, wanted.user_id),
        (events.account_id, wanted.account_id),
    ):
        if value is not None:
            part = part.where(column == value)
    return part


def _of_keys(wanted: AuditFilter) -> Select[Any] | None:
    """Return the part of keys' events, None where it holds nothing that is wanted."""
    is_of_users = wanted.type is not None and not wanted.type.startswith(KEY_PREFIX)
    if is_of_users or wanted.user_id is not None or wanted.account_id is not None:
        return None
    events = api_key_events.c
    part = select(
        literal(Source.KEYS.value).label("source"),
        *(events.event_id, events.created_at, (literal(KEY_PREFIX) + events.type).label("type")),
        *(_none("user_id", Uuid), events.key_id, _none("account_id", Uuid), _none("session_id", Uuid)),
        *(_none("email", Text), events.client_address, events.user_agent),
    )
    if wanted.key_id is not None:
        part = part.where(events.key_id == wanted.key_id)
    if wanted.type is not None:
        part = part.where(events.type == wanted.type.removeprefix(KEY_PREFIX))
    return part


def _none[T](name: str, type_: type[TypeEngine[T]]) -> Label[T]:
    """Return a column of no values: both parts have the same columns."""
    return cast(null(), type_).label(name)


def _newest(
    part: Select[Any], table: Table, source: Source, application_id: UUID, wanted: AuditFilter, *, before: Place | None
) -> Select[Any]:
    part = part.where(table.c.application_id == application_id)
    if wanted.since is not None:
        part = part.where(table.c.created_at >= wanted.since)
    if wanted.until is not None:
        part = part.where(table.c.created_at < wanted.until)
    if before is not None:
        part = part.where(_is_before(before, table, source))
    return part.order_by(table.c.created_at.desc(), table.c.event_id.desc())


def _is_before(place: Place, table: Table, source: Source) -> ColumnElement[bool]:
    if source == place.source:
        return tuple_(table.c.created_at, table.c.event_id) < tuple_(place.created_at, place.event_id)
    return table.c.created_at <= place.created_at if source < place.source else table.c.created_at < place.created_at


def _event_of(row: Row[Any], application_id: UUID) -> AuditEvent:
    client = Client(row.client_address or "", row.user_agent or "")
    return AuditEvent(
        public_id=_public_id(row, application_id),
        place=Place(row.created_at, Source(row.source), row.event_id),
        type=row.type,
        user_id=row.user_id,
        key_id=row.key_id,
        account_id=row.account_id,
        session_id=row.session_id,
        email=row.email,
        client=client,
    )


def _public_id(row: Row[Any], application_id: UUID) -> UUID:
    """Return the id that the user sees as well, or one that is made of what the application knows."""
    if row.user_id is None:
        return uuid5(application_id, f"{row.created_at.isoformat()} {row.type} {row.key_id}")
    event = SecurityEvent(row.user_id, row.type, row.account_id, row.session_id, row.email)
    return RecordedEvent(row.event_id, row.created_at, event).public_id
