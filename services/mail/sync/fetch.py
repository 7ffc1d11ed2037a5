"""Draining the queue: a batch of messages from the provider into the store, each leaving the queue as it is stored."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.kit.errors import AppError
from services.mail.model import FetchItem, Lane, ProviderMessage
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import (
    AccessDeniedError,
    FetchResult,
    Get,
    LimitError,
    MessageGoneError,
    NotInThreadError,
    PartialMessage,
    ProviderError,
    ProviderUnavailableError,
    TokenRefusedError,
)
from services.mail.store import messages
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, syncs
from services.mail.sync.history import learn_labels, refresh_labels
from services.mail.sync.plan_fetches import plan_gets
from services.mail.sync.turn_context import TurnContext

# An older version than wanted is accepted after this many repeated gets.
STALE_GETS_LIMIT = 2
# One get of a thread can take several of the messages that come next off the queue.
_LOOK_AHEAD = 5
# Batches whose messages are stored in one transaction, unless they are large or slow: hints are looked at after it.
_BATCHES_TOGETHER = 5
_BYTES_TOGETHER = 4 * 1024 * 1024
_SECONDS_TOGETHER = 0.5
# Seconds. To give up for want of units would waste the get, and to come back with the next one the same again.
_COMPLETION_PATIENCE = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a message is asked for before it is given up on; the pauses begin with `base_seconds` and double.

    A server error can be an outage of minutes. A refusal, or an answer that makes no sense, rarely changes.
    """

    base_seconds: float = 1.0
    unavailable: int = 8
    refused: int = 3


async def fetch_batch(turn: TurnContext, retries: Retries) -> int:
    """Fetches and stores the next messages that are due; returns how many were asked for, 0 if none is due."""
    most_gets = await turn.concurrency_limit.limit(turn.mailbox_id)
    async with turn.reading() as connection:
        sync_id = await syncs.active_id(connection, turn.mailbox_id)
        queued = await fetch_queue.next_batch(connection, turn.mailbox_id, most_gets * _LOOK_AHEAD)
    results, interruption = await _fetch(turn, queued, sync_id=sync_id, most_gets=most_gets)
    if results:
        await _store(turn, results, retries)
    if interruption is not None:
        raise interruption
    await _back_off_if_limited(turn, results)
    _log_stale(turn, queued, results)
    return len(results)


async def _fetch(
    turn: TurnContext, queued: Sequence[FetchItem], *, sync_id: int | None, most_gets: int
) -> tuple[dict[str, FetchResult], Exception | None]:
    """What became of the first messages in the queue, and what kept the rest from being fetched, if anything did.

    Several batches are stored together: a transaction costs as much as four messages. What they brought is stored
    whatever happens to the last of them.
    """
    results: dict[str, FetchResult] = {}
    end = time.monotonic() + _SECONDS_TOGETHER
    while _leaves_room(results, most=most_gets * _BATCHES_TOGETHER) and time.monotonic() < end:
        if results and not await _still_wanted(turn, sync_id):
            break
        left = [item for item in queued if item.external_id not in results]
        gets = plan_gets(left, costs=turn.provider.costs, most_gets=most_gets, most_units=turn.quota.batch_units)
        if not gets:
            break
        try:
            # Live ones come first, and a batch counts by its first.
            batch, interruption = await _fetch_together(turn, gets, live=left[0].lane is Lane.LIVE)
        except (QuotaWaitError, ProviderError, AppError) as error:
            return results, error
        results |= batch
        if interruption is not None:
            return results, interruption
    return results, None


async def _still_wanted(turn: TurnContext, sync_id: int | None) -> bool:
    """Whether the queue is as it was read: to cancel the sync takes messages off it."""
    async with turn.reading() as connection:
        return await syncs.active_id(connection, turn.mailbox_id) == sync_id


def _leaves_room(results: Mapping[str, FetchResult], *, most: int) -> bool:
    """Whether another batch may join: not after a limit was met, and not where much would have to be kept in memory."""
    if any(isinstance(result, LimitError) for result in results.values()):
        return False
    size = sum(result.size for result in results.values() if isinstance(result, ProviderMessage))
    return len(results) < most and size < _BYTES_TOGETHER


async def _fetch_together(
    turn: TurnContext, gets: Sequence[Get], *, live: bool
) -> tuple[dict[str, FetchResult], QuotaWaitError | None]:
    await turn.calls.take(sum(get.units for get in gets), live=live)
    results = await _ask(turn, gets)
    wait = await _complete_partial(turn, results)
    await _tell_outage(turn, results)
    return results, wait


async def _ask(turn: TurnContext, gets: Sequence[Get]) -> dict[str, FetchResult]:
    results = dict(await turn.call_prepaid(lambda token: turn.provider.fetch(token, gets)))
    refused = [get for get in gets if isinstance(results.get(get.external_ids[0]), TokenRefusedError)]
    if refused:

        async def again(token: str) -> None:
            results.update(await turn.provider.fetch(token, refused))

        await turn.call_with_new_token(again)
    return results


async def _complete_partial(turn: TurnContext, results: dict[str, FetchResult]) -> QuotaWaitError | None:
    """Fetches the text that huge messages only refer to; without quota for it they stay queued as they are."""
    partial = {id_: result for id_, result in results.items() if isinstance(result, PartialMessage)}
    for external_id, message in partial.items():
        try:
            results[external_id] = await _complete(turn, message)
        except QuotaWaitError as wait:
            for id_ in [id_ for id_ in partial if isinstance(results[id_], PartialMessage)]:
                del results[id_]
            return wait
    return None


async def _complete(turn: TurnContext, partial: PartialMessage) -> ProviderMessage | ProviderError:
    await turn.calls.take(partial.units, patience=_COMPLETION_PATIENCE)
    try:
        return await turn.call_prepaid(lambda token: turn.provider.complete(token, partial))
    except ProviderError as error:
        return error


async def _tell_outage(turn: TurnContext, results: Mapping[str, FetchResult]) -> None:
    """Where no message at all came through, one cheap call shows whether the messages are to blame.

    If the provider is, that call fails too and ends the turn, and no message has an attempt counted against it.
    """
    suspicious = ProviderUnavailableError | TokenRefusedError | AccessDeniedError
    if results and all(isinstance(result, suspicious) for result in results.values()):
        await refresh_labels(turn)


async def _store(turn: TurnContext, results: Mapping[str, FetchResult], retries: Retries) -> None:
    got = {id_: result for id_, result in results.items() if isinstance(result, ProviderMessage)}
    gone = [id_ for id_, result in results.items() if isinstance(result, MessageGoneError)]
    strays = [id_ for id_, result in results.items() if isinstance(result, NotInThreadError)]
    # At most once a turn: some labels on messages are never listed.
    if not turn.labels_are_fresh:
        await learn_labels(turn, {label for message in got.values() for label in message.label_ids})
    async with turn.writing() as connection:
        stored = await messages.upsert(connection, turn.mailbox_id, list(got.values()))
        await fetch_queue.finish(
            connection,
            turn.mailbox_id,
            {id_: message.version for id_, message in got.items()},
            stale_limit=STALE_GETS_LIMIT,
            again_seconds=retries.base_seconds,
        )
        if gone:
            await fetch_queue.remove(connection, turn.mailbox_id, gone)
            await messages.delete(connection, turn.mailbox_id, gone)
        if strays:
            await fetch_queue.fetch_singly(connection, turn.mailbox_id, strays)
        await _postpone_failed(connection, turn.mailbox_id, results, retries)
        await syncs.count(connection, turn.mailbox_id, stored=stored)
    turn.metrics.messages_stored.inc(stored)


async def _postpone_failed(
    connection: Connection, mailbox_id: int, results: Mapping[str, FetchResult], retries: Retries
) -> None:
    no_failure = MessageGoneError | NotInThreadError | LimitError
    failed = {
        id_: result
        for id_, result in results.items()
        if isinstance(result, ProviderError) and not isinstance(result, no_failure)
    }
    if failed:
        reasons = sorted({error.reason for error in failed.values()})
        log.info("messages failed", mailbox_id=mailbox_id, reasons=reasons, n=len(failed))
    for transient, limit in ((True, retries.unavailable), (False, retries.refused)):
        reasons_by_id = {
            id_: error.reason
            for id_, error in failed.items()
            if isinstance(error, ProviderUnavailableError | TokenRefusedError) is transient
        }
        await fetch_queue.postpone(
            connection, mailbox_id, reasons_by_id, attempts_limit=limit, base_seconds=retries.base_seconds
        )


async def _back_off_if_limited(turn: TurnContext, results: Mapping[str, FetchResult]) -> None:
    """A part that met a limit closes the bucket for all; it stays queued and counts as no attempt."""
    limits = [result for result in results.values() if isinstance(result, LimitError)]
    if limits:
        longest = max(limits, key=lambda limit: (limit.whole_project, limit.retry_after))
        await turn.calls.back_off(longest)
        raise QuotaWaitError(longest.retry_after) from longest


def _log_stale(turn: TurnContext, batch: Sequence[FetchItem], results: Mapping[str, FetchResult]) -> None:
    for item in batch:
        result = results.get(item.external_id)
        if not isinstance(result, ProviderMessage) or result.version is None:
            continue
        if result.version < item.wanted_version and item.stale_gets >= STALE_GETS_LIMIT:
            log.warning("accepted an older version than wanted", mailbox_id=turn.mailbox_id, id=item.external_id)
