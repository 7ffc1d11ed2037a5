"""An IMAP server over TLS that follows a script: what it expects to hear, and what it answers, odd or not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.frames import Limits, Patience

GREETING = b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n"
QUICK = Patience(connect=5, first=5, next=5, done=0.2)
CUT = object()
"""An answer after which the server closes the connection."""
SILENCE = object()
"""An answer after which the server says nothing more, and goes on listening."""


@dataclass(frozen=True)
class Step:
    """A line of the client without its tag, None for any, and the answers to it. `TAG` stands for the command's tag."""

    hears: bytes | None
    answers: Sequence[Any]


def hears(line: bytes | None, *answers: Any) -> Step:
    """Return a step of a script. A line that continues a command keeps the tag."""
    return Step(line, answers)


@dataclass
class ScriptedServer:
    """The port, the lines that were heard, without tags, and how many connections there were."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    surprises: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, *lines: bytes) -> None:
        """Record lines of a client."""
        self.heard.extend(lines)
        self._news.set()

    async def until_heard(self, lines: int) -> None:
        """Wait until so many lines were heard."""
        while len(self.heard) < lines:
            self._news.clear()
            await self._news.wait()


@cache
def server_pem(name: str) -> bytes:
    """Return a self-signed certificate of a host with its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


@cache
def server_tls(name: str = "localhost") -> ssl.SSLContext:
    """Return the context of a server with a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.pem"
        file.write_bytes(server_pem(name))
        context.load_cert_chain(file)
    return context


@cache
def client_tls(name: str = "localhost") -> ssl.SSLContext:
    """Return the context of a client that trusts that server only."""
    return ssl.create_default_context(cadata=server_pem(name).split(b"-----BEGIN PRIVATE")[0].decode())


@asynccontextmanager
async def scripted_server(
    *scripts: Sequence[Step], greeting: bytes = GREETING, name: str = "localhost"
) -> AsyncIterator[ScriptedServer]:
    """Serve on loopback; the n-th connection follows the n-th script, later ones the last. Fails on other lines."""
    server = ScriptedServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = scripts[min(server.connections, len(scripts) - 1)] if scripts else ()
        server.connections += 1
        writer.write(greeting)
        try:
            await _follow(script, reader, writer, server)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            server.ended.set()
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls(name))
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        listening.abort_clients()
        await listening.wait_closed()
    assert server.surprises == []


async def _follow(
    script: Sequence[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: ScriptedServer
) -> None:
    tag = b""
    for step in script:
        line = (await reader.readuntil(b"\r\n")).removesuffix(b"\r\n")
        first, _, rest = line.partition(b" ")
        is_command = first.startswith(b"A") and first[1:].isdigit()
        tag, line = (first, rest) if is_command else (tag, line)
        server.hear(line)
        if step.hears is not None and line != step.hears:
            server.surprises.append(f"heard {line!r} instead of {step.hears!r}")
            return
        for answer in step.answers:
            if answer is CUT:
                return
            if answer is SILENCE:
                await reader.read()
                return
            writer.write(answer.replace(b"TAG", tag))
            await writer.drain()
    server.hear(*(await reader.read()).split(b"\r\n")[:-1])


async def connect(server: ScriptedServer, *, patience: Patience = QUICK, limits: Limits | None = None) -> Connection:
    """Return a connection to the server."""
    return await dial("localhost", server.port, tls=client_tls(), patience=patience, limits=limits or Limits())


@asynccontextmanager
async def conversation(
    *script: Step, greeting: bytes = GREETING, patience: Patience = QUICK, limits: Limits | None = None
) -> AsyncIterator[tuple[Connection, ScriptedServer]]:
    """Yield a connection to a server with this script, and the server."""
    async with scripted_server(script, greeting=greeting) as server:
        connection = await connect(server, patience=patience, limits=limits)
        try:
            yield connection, server
        finally:
            connection.close()
