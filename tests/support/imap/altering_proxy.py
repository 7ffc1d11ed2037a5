"""A server that answers as one of the sandbox's does, but for what a test alters in its lines."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.support.imap.scripted_server import server_pem, server_tls
from tests.support.sandbox.imap_servers import Servers

type Alter = Callable[[bytes], bytes]

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_CAPABILITIES = re.compile(rb"CAPABILITY ([^\]\r\n]*)")
_NAME = "localhost"
_CHUNK = 65_536


@dataclass
class AlteredServer:
    """The server's address among those of the sandbox, and the lines that it was sent."""

    servers: Servers
    heard: list[bytes] = field(default_factory=list)
    losses: int = 0

    def lose_connections(self) -> None:
        """Let nothing pass over the present connections any more, which stay open: a network has forgotten them."""
        self.losses += 1

    def commands(self) -> set[str]:
        """Return the commands that were sent, such as `UID FETCH`."""
        words = [line.split(b" ")[1:3] for line in self.heard if b" " in line]
        names = [each[:2] if each[0].upper() == b"UID" else each[:1] for each in words if each]
        return {b" ".join(each).decode("latin-1").upper() for each in names}


def without(*extensions: str) -> Alter:
    """Return an alteration that leaves extensions out of what the server advertises."""
    missing = {each.encode() for each in extensions}

    def alter(line: bytes) -> bytes:
        def kept(found: re.Match[bytes]) -> bytes:
            return b"CAPABILITY " + b" ".join(each for each in found[1].split(b" ") if each not in missing)

        return _CAPABILITIES.sub(kept, line)

    return alter


@asynccontextmanager
async def altered_server(servers: Servers, profile: str, alter: Alter) -> AsyncIterator[AlteredServer]:
    """Serve on loopback in place of a server of the sandbox; `alter` sees all lines, and no literal."""
    port, tls = servers.ports[profile], servers.tls
    altered = AlteredServer(servers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        losses = altered.losses

        def is_lost() -> bool:
            return altered.losses > losses

        upstream, to_upstream = await asyncio.open_connection("localhost", port, ssl=tls, limit=1 << 26)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, to_upstream, altered.heard, is_lost))
                group.create_task(_alter(upstream, writer, alter, is_lost))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            to_upstream.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls(_NAME))
    certificate = server_pem(_NAME).split(b"-----BEGIN PRIVATE")[0].decode()
    altered.servers = replace(
        servers,
        ports={**servers.ports, profile: listening.sockets[0].getsockname()[1]},
        authority=servers.authority + certificate,
    )
    try:
        yield altered
    finally:
        listening.close()
        listening.abort_clients()
        await listening.wait_closed()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes], is_lost: Callable[[], bool]
) -> None:
    while line := await reader.readline():
        if is_lost():
            continue
        heard.append(line.removesuffix(b"\r\n"))
        writer.write(line)
        await writer.drain()
    writer.transport.abort()


async def _alter(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alter: Alter, is_lost: Callable[[], bool]
) -> None:
    while line := await reader.readline():
        if is_lost():
            continue
        line = alter(line)
        writer.write(line)
        if found := _LITERAL.search(line):
            left = int(found[1])
            while left and (data := await reader.read(min(left, _CHUNK))):
                left -= len(data)
                writer.write(data)
                await writer.drain()
        await writer.drain()
    writer.transport.abort()
