"""Telling an outage of the provider from messages that break the calls that fetch them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from services.mail.model import FetchItem
from services.mail.providers.base import FetchResult, Get
from services.mail.providers.errors import (
    AccessDeniedError,
    MessageGoneError,
    PostponedError,
    ProviderUnavailableError,
    RejectedError,
    TokenRefusedError,
)
from services.mail.providers.limits import CallCosts
from services.mail.store import messages
from services.mail.sync import label_copy
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn_context import ProviderLimitError, TurnContext

_SUSPICIOUS = ProviderUnavailableError | TokenRefusedError | AccessDeniedError
# Stored messages of which one is fetched. Failed turns take them in turn: a stored one may break its call by now.
_KNOWN_TO_WORK = 10


def units(costs: CallCosts, queued: Sequence[FetchItem], gets: Sequence[Get], retries: Retries) -> int:
    """Return the units that `tell` may need after these gets."""
    wanted = {id_ for get in gets for id_ in get.external_ids}
    fewest = min(retries.unavailable, retries.refused)
    may_die = any(item.attempts + 1 >= fewest for item in queued if item.external_id in wanted)
    return costs.list_labels + may_die * costs.version


async def tell(
    turn: TurnContext, queued: Sequence[FetchItem], results: Mapping[str, FetchResult], retries: Retries
) -> None:
    """If no message of those asked for was fetched, make other calls to find out whether the messages are to blame.

    During an outage these fail too and end the turn, so that no message has an attempt counted against it. Labels cost
    little. They can be had while messages cannot, so a message that was fetched before decides about a last attempt;
    where none was, several cannot all be to blame. Raises the errors of calls.
    """
    failed = {id_: result for id_, result in results.items() if isinstance(result, _SUSPICIOUS)}
    asked = sum(not isinstance(result, PostponedError) for result in results.values())
    if not asked or len(failed) < asked:
        return
    try:
        await label_copy.refresh(turn)
    except ProviderLimitError:
        # No outage: messages whose calls use up a limit each time would otherwise be requested for ever.
        return
    attempts = {item.external_id: item.attempts + 1 for item in queued}
    if any(attempts.get(id_, 0) >= retries.attempts_after(error) for id_, error in failed.items()):
        async with turn.reading() as connection:
            stored = await messages.newest_ids(connection, turn.mailbox_id, limit=_KNOWN_TO_WORK)
        if stored:
            await _get(turn, stored[turn.lease.attempts % len(stored)])
        elif len(failed) > 1:
            raise ProviderUnavailableError("no message can be fetched")


async def _get(turn: TurnContext, external_id: str) -> None:
    with suppress(MessageGoneError, RejectedError):
        await turn.call(turn.provider.costs.version, lambda: turn.session.version(external_id))
