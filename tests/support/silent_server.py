"""Servers that accept connections and say nothing, and a proxy that falls silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class SilentServer:
    """A proxy, or a server that never answers: until `silent` is cleared, bytes are taken and lost."""

    port: int = 0
    silent: bool = True
    connections: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def silent_server(behind: tuple[str, int] | None = None) -> AsyncIterator[SilentServer]:
    """A server on loopback that says nothing, or in front of a server that does, while `silent` is false."""
    running = SilentServer(silent=behind is None)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not running.silent:
                writer.write(data)
                await writer.drain()
            else:
                running.heard.set()
        if not running.silent:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        writers.append(writer)
        if behind is None or running.silent:
            tasks.add(asyncio.create_task(pump(reader, writer)))
            return
        there_reader, there_writer = await asyncio.open_connection(*behind)
        writers.append(there_writer)
        tasks.update(asyncio.create_task(pump(*ends)) for ends in ((reader, there_writer), (there_reader, writer)))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        server.abort_clients()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
