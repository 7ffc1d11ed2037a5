"""Opening a connection: TLS from the first byte on (RFC 8314), with a check of the server's name, and its greeting."""

import asyncio
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import Final

from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ConnectionLostError, FramingError, SilenceError
from services.mail.providers.imap.client.frames import FrameReader, Limits, Patience
from services.mail.providers.imap.client.responses import UNTAGGED, Status

_LIMITS: Final = Limits()
_PATIENCE: Final = Patience()
# Bytes that wait in memory before TCP slows the server down.
_BUFFERED: Final = 65_536


async def dial(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext,
    limits: Limits = _LIMITS,
    patience: Patience = _PATIENCE,
) -> Connection:
    """Return a connection that has been greeted and knows the capabilities. Raises ConnectionLostError, RefusedError.

    Raises ValueError for a TLS context that does not check certificate and name.
    """
    if not tls.check_hostname or tls.verify_mode is not ssl.CERT_REQUIRED:
        raise ValueError("the TLS context does not check the server's name")
    try:
        async with asyncio.timeout(patience.connect):
            stream, writer = await _open(host, port, tls=tls, seconds=patience.connect)
    except TimeoutError as error:
        raise SilenceError("no connection in time") from error
    except OSError as error:
        raise ConnectionLostError(f"no connection: {type(error).__name__}") from error
    connection = Connection(FrameReader(stream, limits=limits, patience=patience), writer, patience=patience)
    try:
        await _take_greeting(connection)
        if not connection.capabilities:
            await ask_capabilities(connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _open(
    host: str, port: int, *, tls: ssl.SSLContext, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to one of the host's addresses. Each but the last has an equal part of the time: it may never answer."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(address[:2] for *_, address in found))
    open_to = partial(asyncio.open_connection, ssl=tls, server_hostname=host, limit=_BUFFERED)
    for address in addresses[:-1]:
        with suppress(OSError):
            async with asyncio.timeout(seconds / len(addresses)):
                return await open_to(*address)
    return await open_to(*addresses[-1])


async def _take_greeting(connection: Connection) -> None:
    greeting = await connection.receive()
    # PREAUTH would be the mailbox of another one: this client has not said yet whose mail it wants.
    if not isinstance(greeting, Status) or greeting.tag != UNTAGGED or greeting.kind != "OK":
        raise FramingError("no greeting")


async def ask_capabilities(connection: Connection) -> None:
    """Ask for the capabilities; until the answer none is known. Raises RefusedError, ConnectionLostError."""
    connection.capabilities = frozenset()
    await connection.run(command("CAPABILITY"))
