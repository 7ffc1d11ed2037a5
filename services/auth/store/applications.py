"""Queries of the table `applications`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Application
from services.auth.store.tables import applications


class ApplicationQueries:
    """The queries of applications in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, application_id: UUID, *, name: str, redirect_urls: list[str]) -> Application | None:
        """Add an application; return None if another one has the name."""
        values = {"application_id": application_id, "name": name, "redirect_urls": redirect_urls}
        rows = await self._connection.execute(
            insert(applications).values(values).on_conflict_do_nothing().returning(applications)
        )
        row = rows.one_or_none()
        return None if row is None else _application_of(row)

    async def find(self, application_id: UUID) -> Application | None:
        """Return the application."""
        query = select(applications).where(applications.c.application_id == application_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _application_of(row)

    async def lock(self, application_id: UUID) -> Application | None:
        """Return the application, locked until the transaction ends."""
        query = select(applications).where(applications.c.application_id == application_id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _application_of(row)

    async def find_by_name(self, name: str) -> Application | None:
        """Return the application of this name."""
        row = (await self._connection.execute(select(applications).where(applications.c.name == name))).one_or_none()
        return None if row is None else _application_of(row)

    async def list_all(self, *, limit: int) -> list[Application]:
        """Return the applications, oldest first."""
        query = select(applications).order_by(applications.c.created_at, applications.c.application_id).limit(limit)
        return [_application_of(row) for row in await self._connection.execute(query)]

    async def set_redirect_urls(self, application_id: UUID, redirect_urls: list[str]) -> Application | None:
        """Replace the addresses to which browsers may be sent; None if there is no such application."""
        statement = update(applications).where(applications.c.application_id == application_id)
        rows = await self._connection.execute(statement.values(redirect_urls=redirect_urls).returning(applications))
        row = rows.one_or_none()
        return None if row is None else _application_of(row)

    async def set_deleted(self, application_id: UUID, *, now: datetime) -> None:
        """Record that the deletion was requested."""
        await self._connection.execute(
            update(applications).where(applications.c.application_id == application_id).values(deleted_at=now)
        )

    async def list_deleted(self, *, limit: int) -> list[UUID]:
        """Return the applications whose deletion was requested, the earliest request first."""
        query = select(applications.c.application_id).where(applications.c.deleted_at.is_not(None))
        return list((await self._connection.execute(query.order_by(applications.c.deleted_at).limit(limit))).scalars())

    async def remove(self, application_id: UUID) -> None:
        """Delete an application without users and keys."""
        await self._connection.execute(delete(applications).where(applications.c.application_id == application_id))


def _application_of(row: Row[Any]) -> Application:
    return Application(row.application_id, row.name, tuple(row.redirect_urls), row.created_at, row.deleted_at)
