"""uvicorn's HTTP protocol with bounds on what a client may send, hold open, and leave unread.

uvicorn bounds none of it: llhttp, its parser, keeps a header of any size, and a head or body may take for ever. Of its
protocols that of httptools lets each header be counted as it is parsed; h11 bounds the bytes of a head alone.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, override

import httptools
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.kit.http.bounds import Bounds, Refusal, RenderRefusal
from services.kit.http.client_address import forwarded_client
from services.kit.http.connections import Connections
from services.kit.http.unread import UnreadResponses

# Bytes that are read at a time, of which those behind a request wait for its response.
READ_BYTES = 16 * 1024
# Bytes that are parsed between two looks at the size of a head, and at whether a request is complete. Requests that
# stand in one slice are all parsed, into 4 kB each; the shortest has 18 bytes.
SLICE = 256
# Seconds for which a refused client may read the response, while what it still sends is thrown away.
LINGER_SECONDS = 2.0
# Bytes that a connection may have unread without being counted.
UNCOUNTED_BYTES = 16 * 1024


class _RefusedError(Exception):
    """Stops the parser."""


class BoundedProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """A connection of an HTTP server, within bounds."""

    # One for all connections: what was read is copied from it at once.
    _read_buffer = memoryview(bytearray(READ_BYTES))

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
        open_connections: Connections,
        unread_responses: UnreadResponses,
        render: RenderRefusal,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._open_connections = open_connections
        self._unread_responses = unread_responses
        self._render = render
        self._refusal = Refusal.MALFORMED
        self._refused = False
        self._unparsed = b""
        # The request that the application handles; `cycle` is the last one that was parsed.
        self._handled: RequestResponseCycle | None = None
        # Bytes of the head, or of what stands between two pieces of a body.
        self._framing_bytes = 0
        self._head_begun = False
        self._body_open = False
        self._body_bytes = 0
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        # The response is complete, and its client has not taken it.
        self._is_unread = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=UNCOUNTED_BYTES)
        if not self._open_connections.add(self, self.client[0] if self.client else ""):
            self._refuse(Refusal.CONNECTIONS)
            return
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed = b""
        self.pipeline.clear()
        if self._handled is not None and not self._handled.response_complete:
            _disconnect(self._handled)
        self._unread_responses.release(self)
        self._open_connections.remove(self)
        self._stop_reading_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    @override
    def shutdown(self) -> None:
        if self._refused:
            self.drop()
        else:
            super().shutdown()

    def drop(self) -> None:
        """Close the connection at once, without a response."""
        self.transport.abort()

    # Reading

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._read_buffer[:nbytes]))

    @override
    def data_received(self, data: bytes) -> None:
        if not self._refused:
            self._unparsed += data
            self._parse()

    def _parse(self) -> None:
        """Parse up to the end of a request. What follows waits unparsed until it is answered, and is not read on."""
        self._unset_keepalive_if_required()
        while self._unparsed and not self._is_to_be_answered():
            if self.transport.is_closing():
                return
            piece, self._unparsed = self._unparsed[:SLICE], self._unparsed[SLICE:]
            self._feed(piece)
            self._framing_bytes += len(piece)
            if self._framing_bytes > self._bounds.head_bytes + SLICE:
                self._refuse(Refusal.LARGE_HEAD)
        if self._unparsed:
            self.flow.pause_reading()
        if not self._refused:
            self._watch_reading()

    def _feed(self, data: bytes) -> None:
        """Parse bytes. An offer to upgrade is declined by going on in HTTP/1.1 (RFC 9110 section 7.8)."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            except httptools.HttpParserError:
                self._refuse(self._refusal)
                return

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True
        self._framing_bytes = 0

    @override
    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._bounds.url_bytes:
            self._stop_parsing(Refusal.LONG_URL)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_begun:
            # A trailer: nothing reads it, and it must not pass for a header (RFC 9110 section 6.5.1).
            return
        super().on_header(name, value)
        if len(self.headers) > self._bounds.headers:
            self._stop_parsing(Refusal.LARGE_HEAD)

    @override
    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self._bounds.head_bytes:
            self._stop_parsing(Refusal.LARGE_HEAD)
        if not _is_unambiguous(self.headers, version=self.parser.get_http_version()):
            self._stop_parsing(Refusal.MALFORMED)
        self._head_begun = False
        self._body_open = True
        self._framing_bytes = self._body_bytes = 0
        self._stop_reading_timer()
        if not self._open_connections.begins(self, client=self._forwarded_client(self.scope)):
            self._stop_parsing(Refusal.CONNECTIONS)
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._body_open = False
        self._stop_reading_timer()
        super().on_message_complete()
        if self._answering():
            self._open_connections.works(self)

    def _forwarded_client(self, scope: Any) -> str:
        if self._open_connections.address_of(self):
            return ""
        return forwarded_client(scope, trusted_proxies=self._bounds.trusted_proxies)

    def _stop_parsing(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _RefusedError

    def _watch_reading(self) -> None:
        """Bound the wait for the rest of a head or body; a request that is complete has nothing to wait for."""
        if self._body_open:
            self._start_reading_timer(self._bounds.body_seconds, self._look_at_body)
        elif self._answering():
            self._stop_reading_timer()
        else:
            self._expect_head()

    def _expect_head(self) -> None:
        self._start_reading_timer(self._bounds.head_seconds, self._end_head)

    def _end_head(self) -> None:
        self._read_timer = None
        if self._head_begun and self._framing_bytes:
            self._refuse(Refusal.TIMEOUT)
        else:
            self.drop()

    def _look_at_body(self) -> None:
        self._read_timer = None
        enough = self._body_bytes >= self._bounds.body_rate * self._bounds.body_seconds
        self._body_bytes = 0
        if not self._answering():
            self.drop()
        elif enough or self.flow.read_paused or self.cycle.response_started:
            self._watch_reading()
        else:
            self._refuse(Refusal.TIMEOUT)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_to_be_answered(self) -> bool:
        """Tell whether a whole request waits for its response."""
        return self._answering() and not self._body_open

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._handled = cycle
        super()._start_asgi_task(cycle, app)

    def _start_reading_timer(self, seconds: float, look: Any) -> None:
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(seconds, look)

    def _stop_reading_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    # Refusing

    def _refuse(self, refusal: Refusal) -> None:
        """Answer the request with the refusal, and close the connection once the client can have read it."""
        if self._refused:
            return
        self._refused = True
        self._unparsed = b""
        self._stop_reading_timer()
        self._unset_keepalive_if_required()
        if self._answering() and not self._is_answered_by_refusal():
            # The bytes would be taken for the response to the request that is under way.
            self.drop()
            return
        if self.cycle is not None:
            _disconnect(self.cycle)
        self.transport.write(_bytes_of(self._render(refusal)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._read_timer = self.loop.call_later(LINGER_SECONDS, self.drop)

    def _is_answered_by_refusal(self) -> bool:
        """Tell whether the first response that the client waits for is that of the request that is refused."""
        return self._body_open and self.cycle is self._handled and not self.cycle.response_started

    # Writing

    @override
    def on_response_complete(self) -> None:
        if self.flow.write_paused and not self.transport.is_closing():
            # The next response would be kept beside this one.
            self._is_unread = True
            self.flow.pause_reading()
            self._open_connections.waits(self)
            return
        super().on_response_complete()
        if self._unparsed:
            self._parse()
        if self.pipeline or self._answering():
            return
        self._open_connections.waits(self)
        if self._body_open:
            self._watch_reading()
        elif self.transport.get_write_buffer_size():
            self._watch_writing()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()
        scope = self.scope if self._handled is None else self._handled.scope
        reader = self._open_connections.address_of(self) or self._forwarded_client(scope)
        self._unread_responses.hold(self, reader)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()
        self._unread_responses.release(self)
        if self._is_unread:
            self._is_unread = False
            self.on_response_complete()

    def unread(self) -> int:
        """Return the bytes of responses that the client has not taken."""
        return self.transport.get_write_buffer_size()

    def _watch_writing(self) -> None:
        """End the connection if its client takes nothing of the response for a while."""
        self._stop_write_timer()
        left = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._bounds.stall_seconds, self._look_at_writing, left)

    def _look_at_writing(self, earlier: int) -> None:
        self._write_timer = None
        left = self.transport.get_write_buffer_size()
        if left >= earlier:
            self.drop()
        elif left:
            self._watch_writing()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _is_unambiguous(headers: Sequence[tuple[bytes, bytes]], *, version: str) -> bool:
    """Tell whether a proxy can have read neither another host nor another end of the body.

    The parser has refused what else is ambiguous. Source: RFC 9112 sections 3.2 and 6.1.
    """
    hosts = sum(name == b"host" for name, _ in headers)
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if version == "1.0":
        return hosts <= 1 and not codings
    return hosts == 1 and codings in ([], [b"chunked"])


def _disconnect(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()


def _bytes_of(response: Response) -> bytes:
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 %d \r\n%b\r\n%b" % (response.status_code, lines, bytes(response.body))
