"""Verification that a copy equals the provider's mailbox, after all known differences were fetched."""

from services.kit.observe.tracing import trace_parent
from services.mail.model import Sync
from services.mail.store.connection import Connection
from services.mail.store.sync import verification
from services.mail.sync.turn_context import TurnContext


async def is_to_do(connection: Connection, turn: TurnContext, sync: Sync | None, *, every_seconds: float) -> bool:
    """Continue the verification of a mailbox without other work; return false if it has ended or is not due.

    A sync that verifies calls this twice: to begin, and after its differences were repaired. A mailbox is also verified
    every `every_seconds` (0 for never).
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
    if sync.verification is not None:
        await verification.set_digest(connection, turn.mailbox_id)
    verified = sync.verification is not None
    await verification.plan_next(connection, turn.mailbox_id, seconds=every_seconds, verified=verified)
    return False
