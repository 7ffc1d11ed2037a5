"""Queries of the table `users`."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import User
from services.auth.store.tables import users


class UserQueries:
    """The queries of users in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, user_id: UUID) -> User | None:
        """Return the user with this id."""
        row = (await self._connection.execute(select(users).where(users.c.user_id == user_id))).one_or_none()
        return None if row is None else user_of(row)

    async def find_login(self, *, provider: str, subject: str, lock: bool = False) -> UUID | None:
        """Return the user whose login is this provider account; `lock` keeps the row until the transaction ends."""
        query = select(users.c.user_id).where(users.c.login_provider == provider, users.c.login_subject == subject)
        if lock:
            query = query.with_for_update(read=True, key_share=True)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def lock(self, user_id: UUID) -> User | None:
        """Lock the user against changes, new accounts and new sessions until the transaction ends; None if deleted."""
        query = select(users).where(users.c.user_id == user_id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else user_of(row)

    async def add(self, user_id: UUID, *, provider: str, subject: str) -> None:
        """Add a user of the default application, whose login is this provider account."""
        await self._connection.execute(
            insert(users).values(user_id=user_id, login_provider=provider, login_subject=subject)
        )

    async def add_external(self, user_id: UUID, *, application_id: UUID, external_user_id: str) -> User | None:
        """Add a user whom the application names by an id of its own; return None if it has one of this id."""
        values = {"user_id": user_id, "application_id": application_id, "external_user_id": external_user_id}
        rows = await self._connection.execute(insert(users).values(values).on_conflict_do_nothing().returning(users))
        row = rows.one_or_none()
        return None if row is None else user_of(row)

    async def find_external(self, external_user_id: str, *, application_id: UUID) -> User | None:
        """Return the application's user of this id of its own."""
        query = select(users).where(
            users.c.application_id == application_id, users.c.external_user_id == external_user_id
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else user_of(row)

    async def list_of(self, application_id: UUID, *, after: UUID | None, limit: int) -> list[User]:
        """Return users of an application with ids above `after`, by id."""
        query = select(users).where(users.c.application_id == application_id)
        if after is not None:
            query = query.where(users.c.user_id > after)
        rows = await self._connection.execute(query.order_by(users.c.user_id).limit(limit))
        return [user_of(row) for row in rows]

    async def remove(self, user_id: UUID) -> None:
        """Delete a user with their sessions and accounts."""
        await self._connection.execute(delete(users).where(users.c.user_id == user_id))


def user_of(row: Row[Any]) -> User:
    """Return the user in a row that has all columns of the table."""
    return User(row.user_id, row.application_id, row.created_at, row.external_user_id)
