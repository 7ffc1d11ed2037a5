"""A server on loopback that takes requests and gives scripted answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class RawReceiver:
    """What came in: the head and body of each request, and how many connections."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def raw_receiver(
    answer: bytes | None = OK, more: bytes = b"", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawReceiver]:
    """Serve `answer`, and then `more`, to each request; None: never answer."""
    receiver = RawReceiver()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                receiver.requests.append(head + await reader.readexactly(length))
                if answer is not None:
                    # Over TLS, each is a record of its own.
                    writer.write(answer)
                    writer.write(more)
                    await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
