"""Draining the queue: a batch of messages from the provider into the store, each leaving the queue as it is stored."""

from collections.abc import Mapping, Sequence

import structlog

from services.mail.model import FetchItem, ProviderMessage
from services.mail.providers.base import (
    FetchResult,
    MessageGoneError,
    PartialMessage,
    ProviderError,
    RateLimitedError,
    TokenRefusedError,
    TooConcurrentError,
)
from services.mail.store import items, messages, syncs
from services.mail.sync.quota import QuotaWaitError
from services.mail.sync.run import MailboxRun

# A batch smaller than this is not worth its overhead while more is queued.
SMALLEST_BATCH = 10
# A message is given up on after so many failed attempts, the first retry coming after so many seconds.
ATTEMPTS_LIMIT = 5
RETRY_BASE_SECONDS = 0.5
# An older version than wanted is accepted after this many repeated gets.
STALE_GETS_LIMIT = 2

log = structlog.get_logger()


async def fetch_batch(run: MailboxRun) -> int:
    """Fetches and stores the next messages that are due; returns how many were asked for, 0 if none is due."""
    limit = await run.parallelism.limit(run.mailbox_id)
    async with run.reading() as connection:
        batch = await items.next_batch(connection, run.mailbox_id, limit)
    if not batch:
        return 0
    cost = run.provider.costs.get
    least = min(len(batch), SMALLEST_BATCH) * cost
    units = await run.take_units(least, at_most=len(batch) * cost, step=cost)
    batch = batch[: units // cost]
    results = dict(await _ask(run, [item.external_id for item in batch]))
    pause = await _complete_partial(run, results)
    await _store(run, results)
    await _back_off_if_limited(run, results)
    if pause is not None:
        raise pause
    _log_stale(run, batch, results)
    return len(batch)


async def _ask(run: MailboxRun, external_ids: Sequence[str]) -> Mapping[str, FetchResult]:
    results = dict(await run.call_prepaid(lambda token: run.provider.fetch(token, external_ids)))
    refused = [id_ for id_, result in results.items() if isinstance(result, TokenRefusedError)]
    if refused:

        async def again(token: str) -> None:
            results.update(await run.provider.fetch(token, refused))

        await run.another_token(again)
    return results


async def _complete_partial(run: MailboxRun, results: dict[str, FetchResult]) -> QuotaWaitError | None:
    """Fetches the text that huge messages only refer to; without quota for it they stay queued as they are."""
    for external_id, result in list(results.items()):
        if not isinstance(result, PartialMessage):
            continue
        try:
            await _take_in_portions(run, result.units)
        except QuotaWaitError as wait:
            for id_ in [id_ for id_, other in results.items() if isinstance(other, PartialMessage)]:
                del results[id_]
            return wait
        results[external_id] = await _complete(run, result)
    return None


async def _take_in_portions(run: MailboxRun, units: int) -> None:
    while units > 0:
        units -= await run.take_units(min(units, run.quota.burst))


async def _complete(run: MailboxRun, partial: PartialMessage) -> ProviderMessage | ProviderError:
    try:
        return await run.call_prepaid(lambda token: run.provider.complete(token, partial))
    except ProviderError as error:
        return error


async def _store(run: MailboxRun, results: Mapping[str, FetchResult]) -> None:
    got = {id_: result for id_, result in results.items() if isinstance(result, ProviderMessage)}
    gone = [id_ for id_, result in results.items() if isinstance(result, MessageGoneError)]
    failed = {
        id_: result.reason
        for id_, result in results.items()
        if isinstance(result, ProviderError)
        and not isinstance(result, MessageGoneError | RateLimitedError)
        and not isinstance(result, TooConcurrentError)
    }
    async with run.writing() as connection:
        stored = await messages.upsert(connection, run.mailbox_id, list(got.values()))
        versions = {id_: message.version for id_, message in got.items()}
        await items.finish(connection, run.mailbox_id, versions, stale_limit=STALE_GETS_LIMIT)
        if gone:
            await items.remove(connection, run.mailbox_id, gone)
            await messages.delete(connection, run.mailbox_id, gone)
        if failed:
            log.info("messages failed", mailbox_id=run.mailbox_id, reasons=sorted(set(failed.values())), n=len(failed))
            await items.postpone(
                connection, run.mailbox_id, failed, attempts_limit=ATTEMPTS_LIMIT, base_seconds=RETRY_BASE_SECONDS
            )
        await syncs.count(connection, run.mailbox_id, stored=stored)


async def _back_off_if_limited(run: MailboxRun, results: Mapping[str, FetchResult]) -> None:
    """A part that met a limit closes the bucket for all; it stays queued and counts as no attempt."""
    limits = [result for result in results.values() if isinstance(result, RateLimitedError | TooConcurrentError)]
    if limits:
        longest = max(limits, key=lambda limit: getattr(limit, "retry_after", 0.0))
        raise await run.back_off(longest)


def _log_stale(run: MailboxRun, batch: Sequence[FetchItem], results: Mapping[str, FetchResult]) -> None:
    for item in batch:
        result = results.get(item.external_id)
        stale = isinstance(result, ProviderMessage) and result.version < item.wanted_version
        if stale and item.stale_gets >= STALE_GETS_LIMIT:
            log.warning("accepted an older version than wanted", mailbox_id=run.mailbox_id, id=item.external_id)
