"""A request to Gmail and its streamed answer, within deadlines."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx

from services.mail.providers.errors import NoAnswerError, ProviderUnavailableError
from services.mail.providers.gmail.http.client import OWN_CONNECTION
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines

# Nothing was sent, and a repeat would fail in the same way.
_NEVER_SENT = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Exchange:
    """Sends requests and streams answers over a client of `create_gmail_client`.

    After a request without an answer every request gets a connection of its own until the kept ones have expired: a
    router that lost one connection, or a server that died, has usually lost several.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        deadlines: Deadlines = DEADLINES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadlines = deadlines
        self._http = http
        self._monotonic = monotonic
        self._distrusted_until = float("-inf")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        access_token: str,
        *,
        within: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
        """Send a request; yield the head of its answer, whatever its status, and the chunks of its body.

        Raises NoAnswerError if no head arrives `within` seconds, ProviderUnavailableError if the body breaks off.
        """
        began = asyncio.get_running_loop().time()
        answered = False
        sending = self._send(method, url, access_token, content, headers)
        try:
            async with asyncio.timeout(within) as timer, sending as head:
                answered = True
                timer.reschedule(began + self.deadlines.for_call(0))
                yield head, self._read(head, timer, began=began)
        except _NEVER_SENT as error:
            raise ProviderUnavailableError(type(error).__name__) from error
        except (httpx.HTTPError, TimeoutError) as error:
            if answered:
                raise ProviderUnavailableError(f"the answer broke off: {type(error).__name__}") from error
            self._distrusted_until = self._monotonic() + self.deadlines.kept
            raise NoAnswerError(type(error).__name__) from error

    def _send(
        self, method: str, url: str, access_token: str, content: bytes | None, headers: Mapping[str, str] | None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        return self._http.stream(
            method,
            url,
            content=content,
            headers={"Authorization": f"Bearer {access_token}", **(headers or {})},
            extensions={OWN_CONNECTION: True} if self._monotonic() < self._distrusted_until else None,
        )

    async def _read(self, head: httpx.Response, timer: asyncio.Timeout, *, began: float) -> AsyncIterator[bytes]:
        async for piece in head.aiter_bytes():
            timer.reschedule(began + self.deadlines.for_call(head.num_bytes_downloaded))
            yield piece
