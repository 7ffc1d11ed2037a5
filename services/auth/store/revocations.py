"""Queries of the table `grant_revocations`: grants without an account."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.store.tables import grant_revocations


@dataclass(frozen=True)
class RevocationRecord:
    """An encrypted grant. `attempts` counts the attempts to revoke it, this one included."""

    grant_id: UUID
    provider: str
    subject: str
    encrypted: bytes
    attempts: int = 0


class RevocationQueries:
    """The queries of revocations in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, record: RevocationRecord, *, pending: bool, due_at: datetime) -> None:
        """Store a grant that is due to be revoked at `due_at`; a pending one can be claimed until then."""
        values = {
            "grant_id": record.grant_id,
            "provider": record.provider,
            "subject": record.subject,
            "encrypted": record.encrypted,
            "pending_link": pending,
            "due_at": due_at,
        }
        await self._connection.execute(insert(grant_revocations).values(values))

    async def take_pending(self, grant_id: UUID, *, now: datetime) -> RevocationRecord | None:
        """Remove a grant that is still pending, and return it."""
        statement = delete(grant_revocations).where(
            grant_revocations.c.grant_id == grant_id, grant_revocations.c.pending_link, grant_revocations.c.due_at > now
        )
        row = (await self._connection.execute(statement.returning(grant_revocations))).one_or_none()
        return None if row is None else RevocationRecord(row.grant_id, row.provider, row.subject, row.encrypted)

    async def cancel_pending(self, grant_id: UUID, *, due_at: datetime) -> None:
        """Turn a pending grant into a revocation."""
        await self._connection.execute(
            update(grant_revocations)
            .where(grant_revocations.c.grant_id == grant_id, grant_revocations.c.pending_link)
            .values(pending_link=False, due_at=due_at)
        )

    async def claim_due(self, *, now: datetime, again_at: datetime, limit: int) -> list[RevocationRecord]:
        """Claim due revocations; other processes see them again at `again_at`."""
        due = (
            select(grant_revocations.c.grant_id)
            .where(grant_revocations.c.due_at <= now)
            .order_by(grant_revocations.c.due_at)
        )
        return await self._claim(due.limit(limit), again_at=again_at)

    async def claim(self, grant_id: UUID, *, again_at: datetime) -> list[RevocationRecord]:
        """Claim one grant that is not pending, whether it is due or not."""
        one = select(grant_revocations.c.grant_id).where(
            grant_revocations.c.grant_id == grant_id, ~grant_revocations.c.pending_link
        )
        return await self._claim(one, again_at=again_at)

    async def _claim(self, grant_ids: Select[tuple[UUID]], *, again_at: datetime) -> list[RevocationRecord]:
        claimed = (
            update(grant_revocations)
            .where(grant_revocations.c.grant_id.in_(grant_ids.with_for_update(skip_locked=True).scalar_subquery()))
            .values(pending_link=False, due_at=again_at, attempts=grant_revocations.c.attempts + 1)
            .returning(grant_revocations)
        )
        rows = await self._connection.execute(claimed)
        return [RevocationRecord(row.grant_id, row.provider, row.subject, row.encrypted, row.attempts) for row in rows]

    async def is_pending_link(self, *, provider: str, subject: str) -> bool:
        """Return whether a link of this account is pending."""
        query = select(grant_revocations.c.grant_id).where(
            grant_revocations.c.provider == provider,
            grant_revocations.c.subject == subject,
            grant_revocations.c.pending_link,
        )
        return (await self._connection.execute(query.limit(1))).one_or_none() is not None

    async def postpone(self, grant_id: UUID, *, due_at: datetime) -> None:
        """Set the time of the next attempt to revoke."""
        await self._connection.execute(
            update(grant_revocations).where(grant_revocations.c.grant_id == grant_id).values(due_at=due_at)
        )

    async def remove(self, grant_id: UUID) -> None:
        """Remove a grant."""
        await self._connection.execute(delete(grant_revocations).where(grant_revocations.c.grant_id == grant_id))

    async def lock_of_other_keys(self, header: bytes, *, after: UUID | None, limit: int) -> list[RevocationRecord]:
        """Lock grants that another key encrypted, by id, until the transaction ends; the current key is in `header`."""
        query = select(grant_revocations).where(func.substring(grant_revocations.c.encrypted, 1, len(header)) != header)
        if after is not None:
            query = query.where(grant_revocations.c.grant_id > after)
        rows = await self._connection.execute(
            query.order_by(grant_revocations.c.grant_id).limit(limit).with_for_update()
        )
        return [RevocationRecord(row.grant_id, row.provider, row.subject, row.encrypted) for row in rows]

    async def put_reencrypted(self, grant_id: UUID, *, encrypted: bytes) -> None:
        """Replace the encrypted record of a grant."""
        await self._connection.execute(
            update(grant_revocations).where(grant_revocations.c.grant_id == grant_id).values(encrypted=encrypted)
        )
