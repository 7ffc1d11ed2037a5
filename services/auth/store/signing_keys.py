"""Queries of the table `signing_keys`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.store.tables import signing_keys


@dataclass(frozen=True)
class SigningKeyRecord:
    """A signing key with its private half encrypted."""

    key_id: str
    public_jwk: dict[str, str]
    private_key: bytes
    signs_from: datetime


class SigningKeyQueries:
    """The queries of signing keys in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        """Lock the table until the transaction ends, so that one process at a time creates a key."""
        await self._connection.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))

    async def list_all(self) -> list[SigningKeyRecord]:
        """Return all signing keys, latest `signs_from` first."""
        query = select(signing_keys).order_by(signing_keys.c.signs_from.desc(), signing_keys.c.key_id)
        rows = await self._connection.execute(query)
        return [SigningKeyRecord(row.key_id, row.public_jwk, row.private_key, row.signs_from) for row in rows]

    async def add(self, record: SigningKeyRecord) -> None:
        """Add a key."""
        values = {
            "key_id": record.key_id,
            "public_jwk": record.public_jwk,
            "private_key": record.private_key,
            "signs_from": record.signs_from,
        }
        await self._connection.execute(insert(signing_keys).values(values))

    async def remove(self, key_ids: list[str]) -> None:
        """Delete keys, whose tokens are refused from then on."""
        await self._connection.execute(delete(signing_keys).where(signing_keys.c.key_id.in_(key_ids)))

    async def put_reencrypted(self, key_id: str, *, private_key: bytes) -> None:
        """Replace the encrypted private half of a key."""
        await self._connection.execute(
            update(signing_keys).where(signing_keys.c.key_id == key_id).values(private_key=private_key)
        )
