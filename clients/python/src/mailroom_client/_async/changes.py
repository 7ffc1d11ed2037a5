"""The feed of a mailbox's changes."""

import logging
from asyncio import sleep
from collections.abc import AsyncGenerator, Callable

from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import MailboxName, Request, naming, parameters
from mailroom_client._retry import Retries
from mailroom_client._streams import Events
from mailroom_client.errors import (
    ApiError,
    MailroomError,
    ResyncRequiredError,
    UnexpectedResponseError,
    UnreachableError,
)
from mailroom_client.models import ChangePage

log = logging.getLogger("mailroom_client")

_LONGEST_WAIT = 60
_LARGEST_PAGE = 500
# Restarts and failovers: 5xx of Mailroom, and too many requests.
_PASSING = frozenset({429, 500, 502, 503, 504})


class AsyncChanges:
    """Changes of messages and labels, in the order in which they became visible."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def position(self, mailbox: MailboxName) -> str:
        """Return the present position: ask for it before you list anything."""
        return (await self.after(mailbox, None)).next_since

    async def after(
        self, mailbox: MailboxName, since: str | None, *, limit: int = _LARGEST_PAGE, wait: int | None = None
    ) -> ChangePage:
        """Return the changes after a position; `wait` waits up to a minute for some. Raises ResyncRequiredError."""
        params = naming(mailbox) | parameters(since=since, limit=limit)
        return await self._transport.call(Request("GET", "/emails/changes", params, wait=wait), ChangePage)

    async def stream(self, mailbox: MailboxName, since: str | None = None) -> AsyncGenerator[ChangePage]:
        """Return pages of changes over one connection, the first at once if there is no position.

        It ends with the access token, and when the gateway is replaced: go on from the last `next_since`. `follow` does
        not end. Raises ResyncRequiredError and other refusals, UnreachableError where the connection breaks off.
        """
        events = Events()
        request = Request("GET", "/emails/changes/stream", naming(mailbox) | parameters(since=since))
        async with self._transport.stream(request) as chunks:
            async for chunk in chunks:
                for data in events.take(chunk):
                    yield _page(data)

    async def follow(
        self,
        mailbox: MailboxName,
        since: str | None = None,
        *,
        limit: int = _LARGEST_PAGE,
        wait: int = _LONGEST_WAIT,
        on_trouble: Callable[[MailroomError], None] | None = None,
    ) -> AsyncGenerator[ChangePage]:
        """Return pages of changes for ever, from a position or from now on.

        Store `page.next_since` with what you made of `page.changes`, and go on from it after a restart: nothing is left
        out, and what was not stored comes again. Servers that cannot be reached or restart are asked again, at most
        half a minute later; `on_trouble` hears of each failure, else the log does. Raises ResyncRequiredError, and
        every other refusal.
        """
        position, failures = since, 0
        while True:
            try:
                if position is None:
                    position = await self.position(mailbox)
                page = await self.after(mailbox, position, limit=limit, wait=wait)
            except (UnreachableError, UnexpectedResponseError, ApiError) as error:
                if not _passes(error):
                    raise
                failures += 1
                (on_trouble or _log_trouble)(error)
                await sleep(_pause(self._transport.retries, error, failures))
                continue
            failures = 0
            if page.changes:
                yield page
            position = page.next_since


def _page(data: bytes) -> ChangePage:
    try:
        return ChangePage.model_validate_json(data)
    except ValueError as error:
        raise UnexpectedResponseError(f"/emails/changes/stream: {error}") from error


def _log_trouble(error: MailroomError) -> None:
    log.warning("changes are asked for again: %s", error)


def _passes(error: MailroomError) -> bool:
    if isinstance(error, ResyncRequiredError):
        return False
    return not isinstance(error, ApiError) or error.status in _PASSING


def _pause(retries: Retries, error: MailroomError, failures: int) -> float:
    asked = error.retry_after if isinstance(error, ApiError) else None
    return max(asked or 0.0, retries.pause(min(failures, 10)))
