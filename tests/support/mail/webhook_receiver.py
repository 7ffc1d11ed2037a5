"""A receiver of webhooks on loopback: verifies what it gets, answers as it is told, and keeps chains."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from mailroom_client import verify_webhook
from mailroom_client.events import UnknownEvent
from standardwebhooks.webhooks import Webhook

from tests.support.mail.waiting import eventually

# Answers that are no status: the connection is reset, or nothing comes.
RESET, HANG = -1, -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A delivery that was verified, and the status that it was answered."""

    event_id: str
    event_type: str
    timestamp: str
    data: dict[str, Any]
    headers: dict[str, str]
    body: bytes
    status: int
    # Unix seconds.
    at: float

    @property
    def mailbox(self) -> str:
        """The mailbox's id; empty for events that belong to no feed."""
        return str(self.data.get("mailbox_id", ""))


@dataclass
class Receiver:
    """What came in. `answer` returns the status for a delivery, RESET or HANG."""

    port: int = 0
    secrets: list[str] = field(default_factory=list)
    answer: Callable[[Received], int] = lambda _: 200
    answer_headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    # Without it `received` stays empty: `answer` keeps what its test needs of very many.
    keeps_all: bool = True
    # Answers wait for it.
    gate: asyncio.Event | None = None
    at_gate: int = 0
    refused_signatures: int = 0
    waiting: int = 0
    most_waiting: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def taken(self) -> list[Received]:
        """The deliveries that were answered 2xx, in order, each event once."""
        first: dict[str, Received] = {}
        for each in self.received:
            if 200 <= each.status < 300:
                first.setdefault(each.event_id, each)
        return list(first.values())

    def of(self, mailbox_id: str) -> list[Received]:
        """Return the events of a mailbox that were taken, in the order of their arrival."""
        return [each for each in self.taken if each.mailbox == mailbox_id]

    def types(self) -> list[str]:
        """Return the types of what was taken, without tests."""
        return [each.event_type for each in self.taken if each.event_type != "webhook.test"]

    async def until(self, number: int, *, within: float = 60.0) -> None:
        """Wait until so many events were taken, tests not counted."""

        async def are_taken() -> bool:
            return len(self.types()) >= number

        await eventually(are_taken, within=within)

    def broken_chains(self) -> list[str]:
        """Describe the events whose `previous_position` is not the position taken before, for each mailbox."""
        last: dict[str, str] = {}
        broken = []
        for each in self.taken:
            if not each.mailbox:
                continue
            data = each.data
            if not data["chain_start"] and data["previous_position"] != last.get(each.mailbox):
                broken.append(f"{each.event_type} {each.event_id}")
            last[each.mailbox] = data["position"]
        return broken

    def repeated(self) -> dict[str, int]:
        """Return how often events were taken that were taken more than once."""
        counts: dict[str, int] = defaultdict(int)
        for each in self.received:
            if 200 <= each.status < 300:
                counts[each.event_id] += 1
        return {event_id: count for event_id, count in counts.items() if count > 1}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await _take_one(receiver, reader, writer):
                pass
        writers.discard(writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def _take_one(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Take a request and answer it; return whether the connection goes on."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    event = _verified(receiver, headers, body)
    if event is None:
        receiver.refused_signatures += 1
        status = 400
    else:
        status = receiver.answer(event)
        if receiver.keeps_all:
            receiver.received.append(replace(event, status=status))
    if receiver.gate is not None:
        receiver.at_gate += 1
        await receiver.gate.wait()
    if status == RESET:
        return False
    if status == HANG:
        receiver.waiting += 1
        receiver.most_waiting = max(receiver.most_waiting, receiver.waiting)
        try:
            await reader.read()
        finally:
            receiver.waiting -= 1
        return False
    more = "".join(f"{name}: {value}\r\n" for name, value in receiver.answer_headers.items())
    writer.write(f"HTTP/1.1 {status} Status\r\n{more}content-length: 2\r\n\r\nok".encode())
    await writer.drain()
    return True


def _verified(receiver: Receiver, headers: dict[str, str], body: bytes) -> Received | None:
    """Return the delivery if every secret of the receiver verifies it, for the reference library and for our client."""
    for secret in receiver.secrets:
        try:
            Webhook(secret).verify(body, headers)
            if isinstance(verify_webhook(body, headers, secret), UnknownEvent):
                return None
        except Exception:  # noqa: BLE001 - the library's errors, and those of its parser
            return None
    event = json.loads(body)
    return Received(
        event_id=headers["webhook-id"],
        event_type=event["type"],
        timestamp=event["timestamp"],
        data=event["data"],
        headers=headers,
        body=body,
        status=0,
        at=time.time(),
    )
