"""Queries of the table `users`."""

from uuid import UUID

from sqlalchemy import delete, select
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
        return None if row is None else User(row.user_id, row.created_at)

    async def find_login(self, *, provider: str, subject: str, lock: bool = False) -> UUID | None:
        """Return the user whose login is this provider account; `lock` keeps the row until the transaction ends."""
        query = select(users.c.user_id).where(users.c.login_provider == provider, users.c.login_subject == subject)
        if lock:
            query = query.with_for_update(read=True, key_share=True)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def lock(self, user_id: UUID) -> bool:
        """Lock the user against changes, new accounts and new sessions until the transaction ends; false if deleted."""
        query = select(users.c.user_id).where(users.c.user_id == user_id).with_for_update()
        return (await self._connection.execute(query)).one_or_none() is not None

    async def add(self, user_id: UUID, *, provider: str, subject: str) -> None:
        """Add a user whose login is this provider account."""
        await self._connection.execute(
            insert(users).values(user_id=user_id, login_provider=provider, login_subject=subject)
        )

    async def remove(self, user_id: UUID) -> None:
        """Delete a user with their sessions and accounts."""
        await self._connection.execute(delete(users).where(users.c.user_id == user_id))
