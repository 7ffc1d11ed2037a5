"""A connection: one command at a time, with its untagged responses until its tag (RFC 9051, sections 2.2 and 7).

What untagged responses say of the selected folder and of the connection is recorded before a command's caller sees
them: a server may send them with any command. A command that ends early, by an error or a cancellation, closes the
connection, since the rest of its responses would be taken for those of the next command.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from services.mail.providers.imap.client.commands import Command
from services.mail.providers.imap.client.errors import (
    ConnectionLostError,
    FramingError,
    MalformedResponseError,
    RefusedError,
    SilenceError,
)
from services.mail.providers.imap.client.frames import FrameReader, Patience, Sink
from services.mail.providers.imap.client.namespaces import Namespaces
from services.mail.providers.imap.client.responses import (
    UNTAGGED,
    Continuation,
    Data,
    Response,
    Status,
    names_in,
    response_of,
)

_LONGEST_TEXT: Final = 200

# Gets the untagged responses of a command.
type Collect = Callable[[Data | Status], None]
# Returns the line that answers a continuation.
type Reply = Callable[[bytes], bytes]


@dataclass(slots=True)
class SelectedFolder:
    """What untagged responses have said of the selected folder since it was selected.

    `keywords` are those that the server names as flags of the folder.
    `news` counts the responses that tell of messages that came, went or changed, but for answers to UID FETCH.
    `is_watched` says that the folder was compared with the copy
    after its selection, and that no message was asked for since: whatever has changed since then is among the news.
    """

    name: bytes
    validity: int | None = None
    uid_next: int | None = None
    modseq: int | None = None
    exists: int = 0
    keywords: tuple[str, ...] = ()
    news: int = 0
    is_watched: bool = False


class Connection:
    """An open connection. Methods raise ConnectionLostError; `is_open` is false from then on."""

    def __init__(self, frames: FrameReader, writer: asyncio.StreamWriter, *, patience: Patience) -> None:
        self.patience = patience
        self.capabilities: frozenset[str] = frozenset()
        self.enabled: frozenset[str] = frozenset()
        self.namespaces = Namespaces()
        self.selected: SelectedFolder | None = None
        self.is_open = True
        # Whether folders were looked at over it: then it proves nothing of what these looks have missed.
        self.has_looked = False
        self.on_close: Callable[[], None] = _nothing
        self._frames = frames
        self._writer = writer
        self._tags = (b"A%d" % number for number in count(1))
        self._is_busy = False
        self._fetches = False

    def has(self, capability: str) -> bool:
        """Return whether the server advertises an extension now; `AUTH=` and others have a parameter."""
        return capability in self.capabilities

    def close(self) -> None:
        """Close the connection without waiting, and call `on_close` once."""
        self.is_open = False
        tell, self.on_close = self.on_close, _nothing
        tell()
        self._writer.transport.abort()

    async def run(
        self,
        command: Command,
        *,
        collect: Collect | None = None,
        sink: Sink | None = None,
    ) -> Status:
        """Run a command; return its status. Raises RefusedError.

        `collect` gets the untagged responses, `sink` the bytes of message bodies.
        """
        [status] = await self.run_all([command], collect=collect, sink=sink)
        if status.kind != "OK":
            raise refusal(command.name, status)
        return status

    async def run_all(
        self,
        commands: Sequence[Command],
        *,
        collect: Collect | None = None,
        reply: Reply | None = None,
        sink: Sink | None = None,
    ) -> list[Status]:
        """Send commands at once; return their statuses in order, refusals too.

        Several commands have no literals. `reply` answers what the server asks for beyond the literals of a command.
        """
        with self.exchange():
            tags = await self.send_all(commands)
            parts = iter(commands[0].parts[1:]) if len(commands) == 1 else iter(())
            ended: dict[bytes, Status] = {}
            seconds = self.patience.first
            while len(ended) < len(tags):
                response = await self.receive(seconds=seconds, sink=sink)
                seconds = self.patience.next
                match response:
                    case Continuation(text):
                        await self._answer(text, parts, reply)
                    case Status(tag=tag) as status if tag in tags:
                        ended[tag] = status
                    case Data() | Status() as untagged if collect is not None:
                        collect(untagged)
            return [ended[tag] for tag in tags]

    async def _answer(self, text: bytes, parts: Iterator[bytes], reply: Reply | None) -> None:
        line = next(parts, None)
        if line is None:
            if reply is None:
                raise FramingError("the server waits for what no command has")
            line = reply(text)
        await self.send(line)

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Run one command or several; an error in the block closes the connection."""
        if self._is_busy:
            raise RuntimeError("another command is running on this connection")
        if not self.is_open:
            raise ConnectionLostError("the connection is closed")
        self._is_busy = True
        self._frames.begin_answer()
        try:
            yield
        except BaseException:
            self.close()
            raise
        finally:
            self._is_busy = False

    async def send_all(self, commands: Sequence[Command]) -> list[bytes]:
        """Send the first parts of commands; return their tags."""
        self._fetches = any(each.name == "UID FETCH" for each in commands)
        if self._fetches and self.selected is not None:
            # What the server tells of other messages meanwhile looks like an answer.
            self.selected.is_watched = False
        tags = [next(self._tags) for _ in commands]
        lines = [tag + b" " + each.parts[0] for tag, each in zip(tags, commands, strict=True)]
        await self.send(b"\r\n".join(lines))
        return tags

    async def send(self, line: bytes) -> None:
        """Send a line."""
        try:
            self._writer.write(line + b"\r\n")
            async with asyncio.timeout(self.patience.first):
                await self._writer.drain()
        except TimeoutError as error:
            raise SilenceError("the server does not read") from error
        except OSError as error:
            raise ConnectionLostError(type(error).__name__) from error

    def forget(self, data: Data) -> None:
        """Let the answer to a command have more responses: the caller keeps nothing of this one."""
        self._frames.forget(data.frame)

    async def receive(self, *, seconds: float | None = None, sink: Sink | None = None) -> Response:
        """Return the next response that can be interpreted, after recording what it says of folder and connection."""
        while True:
            frame = await self._frames.read(seconds=self.patience.first if seconds is None else seconds, sink=sink)
            try:
                response = response_of(frame)
            except MalformedResponseError:
                continue
            self._record(response)
            return response

    def _record(self, response: Response) -> None:
        match response:
            case Data():
                self._record_data(response)
            case Status(tag=tag, kind="BYE") if tag == UNTAGGED:
                raise ConnectionLostError(f"BYE {response.text[:_LONGEST_TEXT]}")
            case Status(code="CAPABILITY"):
                self.capabilities = frozenset(names_in(response.argument))

    def _record_data(self, data: Data) -> None:
        if data.name == "CAPABILITY":
            self.capabilities = frozenset(names_in(data.frame.texts[0][data.end :]))
        elif self.selected is not None:
            _record_news(self.selected, data, fetches=self._fetches)


def _nothing() -> None:
    """Do nothing."""


def refusal(name: str, status: Status) -> RefusedError:
    """Return the error for a command that ended with NO or BAD."""
    return RefusedError(name, status=status.kind, code=status.code, text=status.text)


def _record_news(selected: SelectedFolder, data: Data, *, fetches: bool) -> None:
    match data.name, data.number:
        case "EXISTS", int(number):
            selected.news += number != selected.exists
            selected.exists = number
        case "EXPUNGE", _:
            selected.exists = max(0, selected.exists - 1)
            selected.news += 1
        case "FETCH", _:
            selected.news += not fetches
        case "VANISHED", _:
            selected.news += 1
        case "FLAGS", None:
            selected.keywords = _keywords_in(data)


def _keywords_in(data: Data) -> tuple[str, ...]:
    """Return the flags in a FLAGS response that are none of the system's. One that cannot be read has none."""
    try:
        [flags] = data.values()
    except (MalformedResponseError, ValueError):
        return ()
    words = [each for each in flags if isinstance(each, bytes)] if isinstance(flags, list) else []
    return tuple(sys.intern(each.decode("ascii", "replace")) for each in words if not each.startswith(b"\\"))
