"""Storing of fetch results: each message leaves the queue, is retried, or becomes a dead letter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.mail.model import FetchItem, Measure, ProviderMessage
from services.mail.providers.base import FetchResult
from services.mail.providers.errors import (
    LimitError,
    MessageGoneError,
    NotInThreadError,
    PostponedError,
    ProviderError,
    ProviderUnavailableError,
    TokenRefusedError,
)
from services.mail.store import messages
from services.mail.store.connection import DATA_REFUSED, Connection
from services.mail.store.sync import fetch_queue, listing_diff
from services.mail.sync import label_copy
from services.mail.sync.threads.join import with_threads
from services.mail.sync.turn_context import TurnContext

# Results that do not count as a failed attempt.
_NO_FAILURE = MessageGoneError | NotInThreadError | LimitError | PostponedError
# The reason of the dead letter of a message that the database cannot hold.
REFUSED_BY_DATABASE = "refused_by_database"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The attempts per message before it becomes a dead letter. Pauses start with `base_seconds` and double.

    A server error can be an outage of minutes. A refusal, or an unreadable answer, rarely changes.
    """

    base_seconds: float = 1.0
    unavailable: int = 8
    refused: int = 3
    # A message that the provider does not have is requested again after this pause.
    gone_seconds: float = 5.0

    def attempts_after(self, error: ProviderError) -> int:
        """Return the attempts that a message has which fails so."""
        transient = isinstance(error, ProviderUnavailableError | TokenRefusedError)
        return self.unavailable if transient else self.refused

    @property
    def stale_pauses(self) -> list[float]:
        """The pauses before repeated gets of a message that arrived in too old a version.

        A provider's replicas lag by seconds, during incidents by a minute.
        """
        return [self.base_seconds * factor for factor in (1, 4, 16, 60)]


async def store_fetched(
    turn: TurnContext, queued: Sequence[FetchItem], results: Mapping[str, FetchResult], retries: Retries
) -> None:
    """Store the results of a fetch. Raises the errors of the database.

    A message whose data the database refuses becomes a dead letter; the others are stored.
    """
    got = {id_: result for id_, result in results.items() if isinstance(result, ProviderMessage)}
    # At most once a turn: some labels on messages are never listed.
    if not turn.has_listed_labels:
        await label_copy.learn(turn, {label for message in got.values() for label in message.label_ids})
    try:
        await _store(turn, queued, results, retries)
    except DATA_REFUSED:
        await _store(turn, queued, results, retries, singly=True)


async def _store(
    turn: TurnContext,
    queued: Sequence[FetchItem],
    results: Mapping[str, FetchResult],
    retries: Retries,
    *,
    singly: bool = False,
) -> None:
    """Store results in one transaction, or message by message if `singly`. Raises DATA_REFUSED unless `singly`."""
    got = {id_: result for id_, result in results.items() if isinstance(result, ProviderMessage)}
    async with turn.writing(reports=False) as connection:
        refused: dict[str, str] = {}
        if singly:
            stored, refused = await _upsert_singly(connection, turn, got)
        else:
            stored = await _upsert(connection, turn, list(got.values()))
        versions = {id_: message.version for id_, message in got.items() if id_ not in refused}
        stale = await fetch_queue.finish(connection, turn.mailbox_id, versions, pauses=retries.stale_pauses)
        await _record_absent(connection, turn.mailbox_id, queued, results, retries)
        await _postpone_failed(connection, turn.mailbox_id, results, retries)
        await fetch_queue.postpone(connection, turn.mailbox_id, refused, attempts_limit=1, base_seconds=0)
        await turn.report(connection, stored=stored)
    turn.metrics.messages_stored.inc(stored)
    turn.usage.count(turn.mailbox_id, Measure.MESSAGES_STORED, stored)
    for external_id in stale:
        log.warning("accepted an older version than wanted", mailbox_id=turn.mailbox_id, id=external_id)


async def _upsert(connection: Connection, turn: TurnContext, got: Sequence[ProviderMessage]) -> int:
    """Store messages in their threads; return the number of rows written."""
    threaded = await with_threads(connection, turn.mailbox_id, got)
    return await messages.upsert(connection, turn.mailbox_id, threaded, mark_ids=turn.mark_ids)


async def _upsert_singly(
    connection: Connection, turn: TurnContext, got: Mapping[str, ProviderMessage]
) -> tuple[int, dict[str, str]]:
    """Return the number of rows written, and the refused messages with the reasons of their dead letters."""
    stored, refused = 0, dict[str, str]()
    for id_, message in got.items():
        try:
            # A savepoint: a failed statement must not undo the others.
            async with connection.transaction():
                stored += await _upsert(connection, turn, [message])
        except DATA_REFUSED as error:
            # The error's text can contain the message's.
            log.warning(
                "the database refuses a message", mailbox_id=turn.mailbox_id, id=id_, error=type(error).__name__
            )
            refused[id_] = REFUSED_BY_DATABASE
    return stored, refused


async def _record_absent(
    connection: Connection,
    mailbox_id: int,
    queued: Sequence[FetchItem],
    results: Mapping[str, FetchResult],
    retries: Retries,
) -> None:
    """Remove the messages that the provider has denied twice, and request again those that it denied once.

    The first answer may come from a lagging replica or a batch. The second call is for this message only.
    """
    absent = {id_ for id_, result in results.items() if isinstance(result, MessageGoneError)}
    doubted = {item.external_id for item in queued if item.is_doubted}
    if gone := [*absent & doubted]:
        await fetch_queue.remove(connection, mailbox_id, gone)
        await messages.delete(connection, mailbox_id, gone)
        await listing_diff.note_gone(connection, mailbox_id, gone)
    if new := [*absent - doubted]:
        await fetch_queue.doubt(connection, mailbox_id, new, again_seconds=retries.gone_seconds)
    if strays := [id_ for id_, result in results.items() if isinstance(result, NotInThreadError)]:
        await fetch_queue.fetch_singly(connection, mailbox_id, strays)


async def _postpone_failed(
    connection: Connection, mailbox_id: int, results: Mapping[str, FetchResult], retries: Retries
) -> None:
    failed = {
        id_: result
        for id_, result in results.items()
        if isinstance(result, ProviderError) and not isinstance(result, _NO_FAILURE)
    }
    if failed:
        reasons = sorted({error.reason for error in failed.values()})
        log.info("messages failed", mailbox_id=mailbox_id, reasons=reasons, n=len(failed))
    if waits := [result.retry_after for result in results.values() if isinstance(result, PostponedError)]:
        postponed = [id_ for id_, result in results.items() if isinstance(result, PostponedError)]
        await fetch_queue.suspect(connection, mailbox_id, postponed, again_seconds=max(waits))
    for limit in {retries.unavailable, retries.refused}:
        reasons_by_id = {id_: error.reason for id_, error in failed.items() if retries.attempts_after(error) == limit}
        await fetch_queue.postpone(
            connection, mailbox_id, reasons_by_id, attempts_limit=limit, base_seconds=retries.base_seconds
        )
