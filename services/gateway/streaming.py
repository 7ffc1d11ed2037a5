"""Responses that are sent piece by piece, and end when the client disconnects."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from http import HTTPStatus

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.caller import caller_in
from services.gateway.errors import from_app_error
from services.gateway.revocations import Revocations
from services.kit.errors import AppError

# Seconds for which a client may stop reading.
IDLE_SECONDS = 60.0
# Bytes of a line that are sent at a time.
_PIECE = 256 * 1024

log = structlog.get_logger()


class Streamed(Response):
    """A response whose `send_all` is cancelled when the client disconnects, and holds the `share` while it runs."""

    def __init__(self, share: AbstractAsyncContextManager[None]) -> None:
        super().__init__()
        self._share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Raises what `send_all` raises."""
        sending = asyncio.create_task(self._send_within_share(send))
        leaving = asyncio.create_task(_until_gone(receive))
        ending = asyncio.create_task(_until_ended(scope))
        try:
            await asyncio.wait({sending, leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                log.info("ended a stream: its caller was revoked" if ending.done() else "client left a stream")
                sending.cancel()
            ending.cancel()
            await asyncio.wait({sending, leaving, ending})
        if not sending.cancelled():
            sending.result()

    async def _send_within_share(self, send: Send) -> None:
        async with self._share:
            await self.send_all(send)

    async def send_all(self, send: Send) -> None:
        """Send the whole response."""
        raise NotImplementedError


class JsonLines(Streamed):
    """One JSON value per line (NDJSON). After an error the last line is `{"problem": ...}`.

    The connection then ends without HTTP's end of the body, so that clients that ignore the line notice too.
    """

    def __init__(
        self, lines: AsyncGenerator[bytes], *, filename: str, share: AbstractAsyncContextManager[None]
    ) -> None:
        super().__init__(share)
        self._lines = lines
        self._filename = filename

    async def send_all(self, send: Send) -> None:
        """Send the lines. Raises AppError before the first one is sent."""
        async with aclosing(self._lines) as lines:
            first = await anext(lines, None)
            headers = {
                "content-type": "application/x-ndjson",
                "content-disposition": f'attachment; filename="{self._filename}"',
            }
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": int(HTTPStatus.OK), "headers": encoded})
            if first is not None:
                try:
                    await _send_line(send, first)
                    async for line in lines:
                        await _send_line(send, line)
                except (AppError, TimeoutError) as error:
                    log.warning("export broke off", error=str(error))
                    if isinstance(error, AppError):
                        await _send_line(send, b'{"problem":' + bytes(from_app_error(error).body) + b"}")
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_line(send: Send, line: bytes) -> None:
    """Send a line in pieces: the server waits for the client before each of them, and copies no more than one."""
    async with asyncio.timeout(IDLE_SECONDS):
        for start in range(0, len(line), _PIECE):
            await send({"type": "http.response.body", "body": line[start : start + _PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})


async def _until_ended(scope: Scope) -> None:
    """Wait until the request's key or session has ended, however long that is."""
    caller = caller_in(scope)
    if caller is None:
        await asyncio.Event().wait()
        return
    revocations: Revocations = scope["app"].state.revocations
    await revocations.until_ended(caller)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
