"""A sandbox with its IMAP servers on sockets, and a plain connection to them for tests of single lines."""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import ISSUER
from tests.support.sandbox.key_ring import next_key
from tests.support.sandbox.yandex_client import YandexClient

EMAIL = "ada@example.com"
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


@dataclass(frozen=True)
class Servers:
    """The sandbox's control API, the servers' ports, and a token of Ada's."""

    control_api: YandexClient
    clock: Clock
    ports: dict[str, int]
    authority: str
    token: str

    @property
    def tls(self) -> ssl.SSLContext:
        """The context of a client that trusts the servers."""
        return ssl.create_default_context(cadata=self.authority)

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control API, which must succeed."""
        return await self.control_api.control(method, path, body)

    async def deliver(self, **mail: object) -> str:
        """Deliver one message to Ada and return its id."""
        answer = await self.control("POST", f"users/{EMAIL}/messages", mail)
        return str(answer["messages"][0]["id"])

    async def label(self, name: str) -> str:
        """Create a folder of Ada's and return its id."""
        return str((await self.control("POST", f"users/{EMAIL}/labels", {"name": name}))["id"])

    async def plan(self, **rule: object) -> None:
        """Let calls fail by one rule."""
        await self.control("PUT", "faults", {"rules": [rule]})

    async def truth(self) -> dict[str, dict[str, str]]:
        """Return the true contents of each folder: message ids by UID."""
        folders = (await self.control("GET", f"users/{EMAIL}/folders"))["folders"]
        return {folder["id"]: folder["messages"] for folder in folders}

    async def messages(self) -> list[dict[str, Any]]:
        """Return the facts about Ada's messages, newest first."""
        answer = await self.control_api.http.get(f"/_sandbox/users/{EMAIL}/messages?sha256=0")
        return [json.loads(line) for line in answer.text.splitlines()]

    async def raw(self, message_id: str) -> bytes:
        """Return the bytes of a message of Ada's."""
        answer = await self.control_api.http.get(f"/_sandbox/users/{EMAIL}/messages/{message_id}/raw")
        assert answer.is_success, answer.text
        return answer.content

    async def import_message(self, raw: bytes) -> str:
        """Import a message of any size into Ada's inbox; return its id."""
        answer = await self.control_api.http.post(f"/_sandbox/users/{EMAIL}/import", content=raw)
        return str(answer.json()["messages"][0]["id"])

    async def relabel(self, message_id: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Add and remove labels of a message: folders and flags."""
        await self.control(
            "POST", f"users/{EMAIL}/messages/{message_id}/labels", {"add": list(add), "remove": list(remove)}
        )

    async def account(self) -> dict[str, Any]:
        """Return what the servers know of Ada's logins and connections."""
        accounts = (await self.control("GET", "imap"))["accounts"]
        return dict(accounts.get(EMAIL, {"logins": 0, "refused_logins": 0, "connections": 0, "most_connections": 0}))

    @asynccontextmanager
    async def connection(self, profile: str = "yandex", *, login: bool = True) -> AsyncIterator["Connection"]:
        """Open a connection, logged in as Ada unless told otherwise."""
        reader, writer = await asyncio.open_connection(
            "localhost", self.ports[profile], ssl=self.tls, limit=64 * 1024 * 1024
        )
        connection = Connection(reader, writer)
        try:
            connection.greeting = await connection.line()
            if login:
                assert (await connection.run(f"AUTHENTICATE XOAUTH2 {self.xoauth2()}"))[-1].startswith(b"OK")
            yield connection
        finally:
            writer.close()

    def xoauth2(self, *, token: str | None = None, user: str = EMAIL) -> str:
        """Return the initial response of XOAUTH2."""
        text = f"user={user}\x01auth=Bearer {self.token if token is None else token}\x01\x01"
        return base64.b64encode(text.encode()).decode()


class Connection:
    """A connection whose responses are whole lines, with their literals."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""
        self._number = 0

    async def line(self) -> bytes:
        """Return the next response without its line end, literals included; empty at the end of the stream."""
        async with asyncio.timeout(30):
            data = await self.reader.readline()
            while match := _LITERAL.search(data):
                data += await self.reader.readexactly(int(match[1])) + await self.reader.readline()
        return data.removesuffix(b"\r\n")

    def send(self, text: str | bytes) -> None:
        """Send a line."""
        self.writer.write((text.encode() if isinstance(text, str) else text) + b"\r\n")

    def start(self, command: str | bytes) -> bytes:
        """Send a command and return its tag."""
        self._number += 1
        tag = f"a{self._number}".encode()
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command))
        return tag

    async def run(self, command: str | bytes) -> list[bytes]:
        """Run a command. Returns its untagged responses and at the end the tagged one without its tag."""
        return await self.finish(self.start(command))

    async def finish(self, tag: bytes) -> list[bytes]:
        """Return the responses up to the tagged one."""
        lines: list[bytes] = []
        while True:
            line = await self.line()
            if not line:
                return [*lines, b""]
            if line.startswith(tag + b" "):
                return [*lines, line.removeprefix(tag + b" ")]
            lines.append(line)

    async def select(self, folder: str = "INBOX", *, parameters: str = "") -> list[bytes]:
        """Select a folder."""
        return await self.run(f'SELECT "{folder}"{parameters}')

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        line = await self.line()
        if not line:
            raise StopAsyncIteration
        return line


@asynccontextmanager
async def open_servers(messages: int = 0, **settings: Any) -> AsyncIterator[Servers]:
    """Open a sandbox with both servers, and let Ada consent."""
    clock = Clock()
    chosen: dict[str, Any] = {"users": (EMAIL,), "messages": messages, "imap_yandex_port": 0, "imap_modern_port": 0}
    async with (
        open_sandbox(Settings(sandbox_enabled=True, **(chosen | settings)), clock=clock, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        client = YandexClient(http)
        token = (await client.sign_in(scope="login:email mail:imap_full"))["access_token"]
        facts = await client.control("GET", "imap")
        yield Servers(client, clock, facts["ports"], facts["authority"], token)
