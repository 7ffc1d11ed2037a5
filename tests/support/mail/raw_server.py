"""A server on a real socket that does to each connection what a test says, as no HTTP library would."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

type Behaviour = Callable[["Connection"], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
# Seconds between two bytes that drip.
DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Connection:
    """One connection; `number` counts from 1."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The head of the next request; its body is of no interest. Raises IncompleteReadError at the end."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes) -> None:
        """Sends a whole answer."""
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def wait(self) -> None:
        """Does nothing until the client gives up."""
        while await self.reader.read(65_536):
            pass

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class RawServer:
    """A running server; `served` are the numbers of the connections over which requests came, in their order."""

    url: str = ""
    connections: int = 0
    served: list[int] = field(default_factory=list)


@asynccontextmanager
async def raw_server(behaviour: Behaviour) -> AsyncIterator[RawServer]:
    """A server that behaves so at every connection."""
    running = RawServer()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        try:
            await behaviour(Connection(running.connections, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield running
    finally:
        server.close()
        server.abort_clients()
        await server.wait_closed()


async def is_silent(connection: Connection) -> None:
    """Takes the request and says nothing."""
    await connection.wait()


async def stops_after_head(connection: Connection) -> None:
    """Sends a head and the beginning of a body, and no more."""
    await connection.request()
    await connection.send(HEAD + b'{"id":')
    await connection.wait()


async def drips_head(connection: Connection) -> None:
    """Sends a head that does not end, byte by byte."""
    await connection.request()
    await _drip(connection, b"HTTP/1.1 200 OK\r\nX-Long: ")


async def drips_body(connection: Connection) -> None:
    """Sends a body that does not end, byte by byte."""
    await connection.request()
    await _drip(connection, HEAD + b'{"id": "')


async def resets(connection: Connection) -> None:
    """Resets the connection instead of an answer."""
    await connection.request()
    connection.reset()


async def resets_after_head(connection: Connection) -> None:
    """Resets the connection in the middle of an answer."""
    await connection.request()
    await connection.send(HEAD + b'{"id":')
    connection.reset()


async def _drip(connection: Connection, beginning: bytes) -> None:
    await connection.send(beginning)
    while not connection.writer.is_closing():
        await connection.send(b"x")
        await asyncio.sleep(DRIP_SECONDS)
