"""The signing keys' rows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.store.tables import signing_keys


@dataclass(frozen=True)
class SigningKeyRecord:
    """A signing key as it is stored: the private half encrypted."""

    key_id: str
    public_jwk: dict[str, str]
    private_key: bytes
    signs_from: datetime


class SigningKeyQueries:
    """Part of a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        """Makes processes that would create a key at the same time wait for each other until the end."""
        await self._connection.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))

    async def list_all(self) -> list[SigningKeyRecord]:
        """All signing keys, the one that signs last first."""
        query = select(signing_keys).order_by(signing_keys.c.signs_from.desc(), signing_keys.c.key_id)
        rows = await self._connection.execute(query)
        return [SigningKeyRecord(row.key_id, row.public_jwk, row.private_key, row.signs_from) for row in rows]

    async def add(self, record: SigningKeyRecord) -> None:
        """Stores a new key."""
        values = {
            "key_id": record.key_id,
            "public_jwk": record.public_jwk,
            "private_key": record.private_key,
            "signs_from": record.signs_from,
        }
        await self._connection.execute(insert(signing_keys).values(values))

    async def remove(self, key_ids: list[str]) -> None:
        """Forgets keys: what they signed is not accepted any more."""
        await self._connection.execute(delete(signing_keys).where(signing_keys.c.key_id.in_(key_ids)))

    async def put_reencrypted(self, key_id: str, *, private_key: bytes) -> None:
        """The same key, encrypted anew."""
        await self._connection.execute(
            update(signing_keys).where(signing_keys.c.key_id == key_id).values(private_key=private_key)
        )
