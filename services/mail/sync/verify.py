"""Verification that a copy equals the provider's mailbox, after all known differences were fetched."""

from services.kit.observe.tracing import trace_parent
from services.mail.model import Sync
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, verification
from services.mail.sync.turn_context import TurnContext

# Messages per statement, which takes less than a second.
_DIGESTED_AT_ONCE = 20_000


def has_compared(sync: Sync | None) -> bool:
    """Return whether a sync has compared the copy with the provider's mailbox."""
    return sync is not None and sync.verification is not None and sync.verification.done


async def digest(turn: TurnContext, sync: Sync | None) -> str | None:
    """Return the digest of the copy, if the sync has compared it and its differences were fetched.

    In short transactions without a lock: a million messages take many seconds, in which a fenced transaction would keep
    the lease from being renewed, and hints from being recorded.
    """
    if not has_compared(sync):
        return None
    async with turn.reading() as connection:
        if await fetch_queue.seconds_until_next(connection, turn.mailbox_id) is not None:
            return None
    value, last = 0, 0
    while True:
        async with turn.reading() as connection:
            part = await verification.part_of_digest(connection, turn.mailbox_id, after=last, limit=_DIGESTED_AT_ONCE)
        if part.last is None:
            return f"{value:032x}"
        value, last = value ^ part.value, part.last


async def is_to_do(
    connection: Connection, turn: TurnContext, sync: Sync | None, *, digest: str | None, every_seconds: float
) -> bool:
    """Continue the verification of a mailbox without other work; return false if it has ended or is not due.

    A sync that verifies calls this twice: to begin, and after its differences were repaired. A mailbox is also verified
    every `every_seconds` (0 for never). `digest` is that of the copy which a sync has compared.
    """
    if sync is None:
        await verification.plan_next(connection, turn.mailbox_id, seconds=every_seconds, verified=False)
        if not await verification.is_due(connection, turn.mailbox_id):
            return False
        sync_id = await verification.request(
            connection, turn.mailbox_id, hint_seq=turn.newest_hint, trace_parent=trace_parent()
        )
        return sync_id is not None
    if sync.verification is not None and not sync.verification.done:
        await verification.begin(connection, turn.mailbox_id)
        return True
    if digest is not None:
        await verification.set_digest(connection, turn.mailbox_id, digest)
    verified = sync.verification is not None
    await verification.plan_next(connection, turn.mailbox_id, seconds=every_seconds, verified=verified)
    return False
