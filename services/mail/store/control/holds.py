"""Which worker holds a connection of a mailbox at its provider, and so has its turns before others."""

from collections.abc import Sequence
from uuid import UUID

from services.mail.store.connection import Connection


async def hold(connection: Connection, mailbox_ids: Sequence[int], *, holder: UUID, seconds: float) -> set[int]:
    """Hold mailboxes for so long, unless another worker does; return those that are held now."""
    rows = await connection.fetch(
        """
        UPDATE mailbox_schedule SET held_by = $2, held_until = now() + make_interval(secs => $3)
        WHERE mailbox_id = ANY($1::bigint[]) AND (held_by = $2 OR held_until IS NULL OR held_until < now())
        RETURNING mailbox_id
        """,
        list(mailbox_ids),
        holder,
        seconds,
    )
    return {row["mailbox_id"] for row in rows}


async def release(connection: Connection, mailbox_ids: Sequence[int], *, holder: UUID) -> None:
    """Let other workers have the mailboxes."""
    await connection.execute(
        """
        UPDATE mailbox_schedule SET held_by = NULL, held_until = NULL
        WHERE mailbox_id = ANY($1::bigint[]) AND held_by = $2
        """,
        list(mailbox_ids),
        holder,
    )


async def is_held_by_another(connection: Connection, mailbox_id: int, *, holder: UUID) -> bool:
    """Return whether another worker holds the mailbox."""
    held: bool | None = await connection.fetchval(
        "SELECT held_until > now() AND held_by <> $2 FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id, holder
    )
    return bool(held)
