"""The secrets that sign deliveries to endpoints, encrypted: the newest one, and the one before while it signs on."""

from dataclasses import dataclass
from uuid import UUID

from services.mail.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """An encrypted secret of an endpoint."""

    endpoint_id: UUID
    secret_id: int
    encrypted: bytes


async def add(connection: Connection, endpoint_id: UUID, encrypted: bytes) -> None:
    """Add the newest secret of an endpoint."""
    await connection.execute(
        "INSERT INTO webhook_secrets (endpoint_id, encrypted) VALUES ($1, $2)", endpoint_id, encrypted
    )


async def end(connection: Connection, endpoint_id: UUID, *, after_seconds: float) -> None:
    """Let the newest secret sign for so many seconds more, and delete the others."""
    await connection.execute(
        """
        DELETE FROM webhook_secrets s WHERE endpoint_id = $1
            AND secret_id < (SELECT max(secret_id) FROM webhook_secrets WHERE endpoint_id = $1)
        """,
        endpoint_id,
    )
    await connection.execute(
        "UPDATE webhook_secrets SET ends_at = now() + make_interval(secs => $2) WHERE endpoint_id = $1",
        endpoint_id,
        after_seconds,
    )


async def live(connection: Connection, endpoint_id: UUID) -> list[bytes]:
    """Return the encrypted secrets that sign now, the newest first."""
    rows = await connection.fetch(
        """
        SELECT encrypted FROM webhook_secrets WHERE endpoint_id = $1 AND (ends_at IS NULL OR ends_at > now())
        ORDER BY secret_id DESC
        """,
        endpoint_id,
    )
    return [bytes(row["encrypted"]) for row in rows]


async def of_other_keys(connection: Connection, header: bytes, *, after: tuple[UUID, int], limit: int) -> list[Secret]:
    """Lock and return secrets that do not begin with `header`, which names the key of encryption.

    In the order of their endpoints and numbers, from those after the one with this key.
    """
    rows = await connection.fetch(
        """
        SELECT endpoint_id, secret_id, encrypted FROM webhook_secrets
        WHERE substring(encrypted FROM 1 FOR length($1::bytea)) <> $1 AND (endpoint_id, secret_id) > ($2, $3)
        ORDER BY endpoint_id, secret_id LIMIT $4 FOR UPDATE SKIP LOCKED
        """,
        header,
        *after,
        limit,
    )
    return [Secret(**row) for row in rows]


async def replace(connection: Connection, secret: Secret, encrypted: bytes) -> None:
    """Replace a secret by the same one under another key."""
    await connection.execute(
        "UPDATE webhook_secrets SET encrypted = $3 WHERE endpoint_id = $1 AND secret_id = $2",
        secret.endpoint_id,
        secret.secret_id,
        encrypted,
    )
