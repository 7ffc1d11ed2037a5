"""The rows of grants that belong to no account."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.store.tables import loose_grants


@dataclass(frozen=True)
class LooseGrantRecord:
    """A grant without an account, sealed. `attempts` counts the attempts to revoke it, this one included."""

    grant_id: UUID
    provider: str
    subject: str
    sealed: bytes
    attempts: int = 0


class LooseGrantQueries:
    """Part of a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, record: LooseGrantRecord, *, parked: bool, due_at: datetime) -> None:
        """Keeps a grant until `due_at`, when it is revoked; a parked one can be taken before."""
        values = {
            "grant_id": record.grant_id,
            "provider": record.provider,
            "subject": record.subject,
            "sealed": record.sealed,
            "parked": parked,
            "due_at": due_at,
        }
        await self._connection.execute(insert(loose_grants).values(values))

    async def take(self, grant_id: UUID, *, now: datetime) -> LooseGrantRecord | None:
        """Removes a grant that is parked still, and returns it."""
        statement = delete(loose_grants).where(
            loose_grants.c.grant_id == grant_id, loose_grants.c.parked, loose_grants.c.due_at > now
        )
        row = (await self._connection.execute(statement.returning(loose_grants))).one_or_none()
        return None if row is None else LooseGrantRecord(row.grant_id, row.provider, row.subject, row.sealed)

    async def drop(self, grant_id: UUID, *, due_at: datetime) -> None:
        """Nobody can take the grant any more; it is to be revoked."""
        await self._connection.execute(
            update(loose_grants)
            .where(loose_grants.c.grant_id == grant_id, loose_grants.c.parked)
            .values(parked=False, due_at=due_at)
        )

    async def claim_due(self, *, now: datetime, again_at: datetime, limit: int) -> list[LooseGrantRecord]:
        """Grants that are to be revoked by now; others find them again at `again_at`."""
        due = select(loose_grants.c.grant_id).where(loose_grants.c.due_at <= now).order_by(loose_grants.c.due_at)
        return await self._claim(due.limit(limit), again_at=again_at)

    async def claim(self, grant_id: UUID, *, again_at: datetime) -> list[LooseGrantRecord]:
        """The same for one that is not parked, whether it is due or not."""
        one = select(loose_grants.c.grant_id).where(loose_grants.c.grant_id == grant_id, ~loose_grants.c.parked)
        return await self._claim(one, again_at=again_at)

    async def _claim(self, grant_ids: Select[tuple[UUID]], *, again_at: datetime) -> list[LooseGrantRecord]:
        claimed = (
            update(loose_grants)
            .where(loose_grants.c.grant_id.in_(grant_ids.with_for_update(skip_locked=True).scalar_subquery()))
            .values(parked=False, due_at=again_at, attempts=loose_grants.c.attempts + 1)
            .returning(loose_grants)
        )
        rows = await self._connection.execute(claimed)
        return [LooseGrantRecord(row.grant_id, row.provider, row.subject, row.sealed, row.attempts) for row in rows]

    async def is_parked(self, *, provider: str, subject: str) -> bool:
        """Whether a grant of this account waits for its link to be committed."""
        query = select(loose_grants.c.grant_id).where(
            loose_grants.c.provider == provider, loose_grants.c.subject == subject, loose_grants.c.parked
        )
        return (await self._connection.execute(query.limit(1))).one_or_none() is not None

    async def postpone(self, grant_id: UUID, *, due_at: datetime) -> None:
        """Sets when the next attempt to revoke is due."""
        await self._connection.execute(
            update(loose_grants).where(loose_grants.c.grant_id == grant_id).values(due_at=due_at)
        )

    async def remove(self, grant_id: UUID) -> None:
        """Forgets a grant."""
        await self._connection.execute(delete(loose_grants).where(loose_grants.c.grant_id == grant_id))

    async def lock_sealed_otherwise(self, header: bytes, *, after: UUID | None, limit: int) -> list[LooseGrantRecord]:
        """Grants whose record does not begin with this header, in the order of their ids, locked until the end."""
        query = select(loose_grants).where(func.substring(loose_grants.c.sealed, 1, len(header)) != header)
        if after is not None:
            query = query.where(loose_grants.c.grant_id > after)
        rows = await self._connection.execute(query.order_by(loose_grants.c.grant_id).limit(limit).with_for_update())
        return [LooseGrantRecord(row.grant_id, row.provider, row.subject, row.sealed) for row in rows]

    async def put_resealed(self, grant_id: UUID, *, sealed: bytes) -> None:
        """The same grant, sealed anew."""
        await self._connection.execute(
            update(loose_grants).where(loose_grants.c.grant_id == grant_id).values(sealed=sealed)
        )
