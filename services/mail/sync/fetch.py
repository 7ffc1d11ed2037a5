"""Draining the fetch queue: batches of messages from the provider, stored by store_fetched.py."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import structlog

from services.kit.errors import AppError
from services.mail.model import FetchItem, Lane, ProviderMessage
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import FetchResult, Get, PartialMessage
from services.mail.providers.errors import LimitError, NoAnswerError, ProviderError, ProviderUnavailableError
from services.mail.store import messages
from services.mail.store.sync import fetch_queue, syncs
from services.mail.sync import outage
from services.mail.sync.plan_fetches import in_one_way, plan_gets
from services.mail.sync.store_fetched import Retries, store_fetched
from services.mail.sync.turn_context import ProviderLimitError, TurnContext

# A get of a thread can take several of the next messages off the queue.
_LOOK_AHEAD = 10
# Batches stored in one transaction, unless they are large or slow. Hints are checked after each transaction.
_BATCHES_TOGETHER = 10
_TEXT_TOGETHER = 4 * 1024 * 1024
_SECONDS_TOGETHER = 0.5
# Seconds. Giving up for lack of units would waste the get, and the next get would meet the same.
_COMPLETION_PATIENCE = 10.0
# Failed turns in a row after which the messages of a call that fails as a whole are fetched each by itself.
_FAILED_TURNS_TOGETHER = 2

log = structlog.get_logger()


async def fetch_batch(turn: TurnContext, retries: Retries, *, sync_id: int | None = None) -> int:
    """Fetch and store the next due messages; return how many were requested, 0 if none is due.

    `sync_id` is the active sync: after its end no further batch is requested.
    """
    most_gets = await turn.concurrency_limit.limit(turn.identity, most=turn.quota.limits.concurrency)
    async with turn.reading() as connection:
        queued = await fetch_queue.next_batch(connection, turn.mailbox_id, most_gets * _LOOK_AHEAD)
    results, interruption = await _fetch(turn, queued, retries, sync_id=sync_id, most_gets=most_gets)
    if results:
        await store_fetched(turn, queued, results, retries)
    if interruption is not None:
        raise interruption
    await _back_off_if_limited(turn, results)
    return len(results)


async def _fetch(
    turn: TurnContext, queued: Sequence[FetchItem], retries: Retries, *, sync_id: int | None, most_gets: int
) -> tuple[dict[str, FetchResult], Exception | None]:
    """Fetch the first messages of the queue; return their results, and the error that kept the rest from being fetched.

    Several batches are stored together, since a transaction costs as much as four messages. Their results are stored
    even if the last batch fails.
    """
    results: dict[str, FetchResult] = {}
    text = 0
    end, most = time.monotonic() + _SECONDS_TOGETHER, most_gets * _BATCHES_TOGETHER
    async with AsyncExitStack() as ahead:
        while len(results) < most and text < _TEXT_TOGETHER and time.monotonic() < end:
            if results and not await _still_wanted(turn, sync_id):
                break
            left, singly = in_one_way([item for item in queued if item.external_id not in results])
            most_units = turn.quota.limits.batch_units
            gets = plan_gets(left, costs=turn.provider.costs, most_gets=most_gets, most_units=most_units)
            if not gets:
                break
            # Live messages come first in the queue, so the first one decides for its batch.
            live = left[0].lane is Lane.LIVE
            try:
                may_go_on = await _reserve(
                    turn, ahead, left, gets, retries, messages=min(len(left), most - len(results)), live=live
                )
                batch, interruption = await _fetch_together(turn, gets, live=live, singly=singly)
                await outage.tell(turn, left, batch, retries)
            except (QuotaWaitError, ProviderError, AppError) as error:
                await _suspect(turn, gets, error)
                return results, error
            results |= batch
            text += sum(messages.text_size(result) for result in batch.values() if isinstance(result, ProviderMessage))
            if interruption is not None or not may_go_on or _met_limit(batch):
                return results, interruption
    return results, None


async def _suspect(turn: TurnContext, gets: Sequence[Get], error: Exception) -> None:
    """Fetch the messages of a call that keeps failing as a whole each by itself from now on: one may break it."""
    if not isinstance(error, ProviderUnavailableError) or turn.lease.attempts <= _FAILED_TURNS_TOGETHER:
        return
    async with turn.writing() as connection:
        await fetch_queue.suspect(connection, turn.mailbox_id, [id_ for get in gets for id_ in get.external_ids])


async def _reserve(
    turn: TurnContext,
    ahead: AsyncExitStack,
    queued: Sequence[FetchItem],
    gets: Sequence[Get],
    retries: Retries,
    *,
    messages: int,
    live: bool,
) -> bool:
    """Reserve the units of a batch, and those of the following ones as far as they remain; return whether any did.

    A take costs as much as a message. A get is worth nothing without what follows it: texts that it delivers by
    reference, and the calls that tell an outage. Where units are scarce a turn has as many batches as transactions, or
    other mailboxes would wait for its whole group.
    """
    calls, costs, units = turn.calls, turn.provider.costs, sum(get.units for get in gets)
    needed = units + _completion_units(queued, gets) + outage.units(costs, queued, gets, retries)
    if (missing := needed - calls.reserved_units) > 0:
        more = max(0, messages * costs.fetch - units)
        await ahead.enter_async_context(calls.reserved(missing, more=more, live=live))
    return calls.reserved_units > needed


async def _still_wanted(turn: TurnContext, sync_id: int | None) -> bool:
    """Return whether the queue is still valid: cancelling the sync removes messages from it."""
    if not turn.is_cancelled:
        return True
    async with turn.reading() as connection:
        return await syncs.active_id(connection, turn.mailbox_id) == sync_id


def _met_limit(results: Mapping[str, FetchResult]) -> bool:
    return any(isinstance(result, LimitError) for result in results.values())


def _completion_units(queued: Sequence[FetchItem], gets: Sequence[Get]) -> int:
    """Return the units for texts that earlier gets of these messages have not brought."""
    wanted = {id_ for get in gets for id_ in get.external_ids}
    return sum(item.completion_units for item in queued if item.external_id in wanted)


async def _fetch_together(
    turn: TurnContext, gets: Sequence[Get], *, live: bool, singly: bool
) -> tuple[dict[str, FetchResult], QuotaWaitError | None]:
    await turn.calls.take(sum(get.units for get in gets), live=live)
    results = await _ask(turn, gets, live=live, singly=singly)
    wait = await _complete_partial(turn, results)
    return results, wait


async def _ask(turn: TurnContext, gets: Sequence[Get], *, live: bool, singly: bool) -> dict[str, FetchResult]:
    results = dict(await _get(turn, gets, singly=singly))
    await _repeat_unanswered(turn, gets, results, live=live)
    return results


async def _get(turn: TurnContext, gets: Sequence[Get], *, singly: bool) -> Mapping[str, FetchResult]:
    return await turn.call_prepaid(
        lambda: turn.session.fetch(gets, singly=singly),
        lost_units=lambda results: sum(get.units for get in _unanswered(gets, results)),
    )


def _unanswered(gets: Sequence[Get], results: Mapping[str, FetchResult]) -> list[Get]:
    return [get for get in gets if isinstance(results.get(get.external_ids[0]), NoAnswerError)]


async def _repeat_unanswered(
    turn: TurnContext, gets: Sequence[Get], results: dict[str, FetchResult], *, live: bool
) -> None:
    """Repeat single gets without an answer once; without quota for that they are retried later."""
    lost = _unanswered(gets, results)
    if not lost:
        return
    log.warning("a call without an answer is repeated", mailbox_id=turn.mailbox_id, gets=len(lost))
    with contextlib.suppress(QuotaWaitError, ProviderError, AppError):
        await turn.calls.take(sum(get.units for get in lost), live=live)
        results |= await _get(turn, lost, singly=True)


async def _complete_partial(turn: TurnContext, results: dict[str, FetchResult]) -> QuotaWaitError | None:
    """Fetch the missing text of large messages; without quota they stay queued, and are paid for at once next time."""
    partial = {id_: result for id_, result in results.items() if isinstance(result, PartialMessage)}
    for external_id, message in partial.items():
        try:
            results[external_id] = await _complete(turn, message)
        except QuotaWaitError as wait:
            left = {id_: part.units for id_, part in partial.items() if results[id_] is part}
            async with turn.writing() as connection:
                await fetch_queue.expect_completion(connection, turn.mailbox_id, left)
            for id_ in left:
                del results[id_]
            return wait
    return None


async def _complete(turn: TurnContext, partial: PartialMessage) -> ProviderMessage | ProviderError:
    await turn.calls.take(partial.units, patience=_COMPLETION_PATIENCE)
    try:
        return await turn.call_prepaid(lambda: turn.session.complete(partial))
    except ProviderError as error:
        return error


async def _back_off_if_limited(turn: TurnContext, results: Mapping[str, FetchResult]) -> None:
    """Pause all processes after a get met a limit. Its messages stay queued without a counted attempt."""
    limits = [result for result in results.values() if isinstance(result, LimitError)]
    if limits:
        longest = max(limits, key=lambda limit: (limit.whole_project, limit.retry_after))
        await turn.calls.back_off(longest)
        raise ProviderLimitError(longest) from longest
