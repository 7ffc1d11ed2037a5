"""One connection: its state, and the loop that executes commands."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.sandbox.imap.errors import BadError, DisconnectError, MalformedCommandError, NoError
from services.sandbox.imap.folders import Folder, MailboxFolders
from services.sandbox.imap.profiles import Profile
from services.sandbox.imap.selected import Selected
from services.sandbox.imap.wire import Command, CommandReader
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import Fault, FaultPlan
from services.sandbox.mailboxes.user import User

IDLE_SECONDS = 30 * 60.0
# Servers gather small responses: a TLS record has room for so many bytes.
GATHERED_BYTES = 16 * 1024
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
# HTTP's statuses, which the counts of all other calls have.
_STATUS_OF_OUTCOME = {"OK": 200, "NO": 403, "BAD": 400}

type Handler = Callable[["Session", Command], Awaitable[str]]


def _cut(response: bytes, *, in_literal: bool) -> int:
    """Return where a cut response ends: in the middle, or in the middle of its first literal if it has one."""
    match = _LITERAL.search(response) if in_literal else None
    return len(response) // 2 if match is None else match.end() + int(match[1]) // 2


def _call_name(command: Command) -> str:
    """Return the name in fault plans and counts: `imap.fetch` for FETCH and UID FETCH."""
    name = command.arguments[0] if command.name == "UID" and command.arguments else command.name
    return f"imap.{name.lower()}" if isinstance(name, str) else "imap.uid"


class Gatekeeper(Protocol):
    """The server's decision on who may log in, and how often."""

    def admit(self, session: "Session", token: str, address: str) -> tuple[User, MailboxFolders] | None:
        """Return the user of a token with their folders, None if it is refused. Raises NoError for too many logins."""

    def leave(self, session: "Session") -> None:
        """Forget a connection."""


@dataclass(slots=True, eq=False)
class Session:
    """A connection. `user` and `folders` are set by a login, `selected` by SELECT."""

    id: str
    profile: Profile
    reader: CommandReader
    writer: asyncio.StreamWriter
    gatekeeper: Gatekeeper
    handlers: Mapping[str, Handler]
    faults: FaultPlan
    call_counts: CallCounts
    user: User | None = None
    mailbox: MailboxFolders | None = None
    selected: Selected | None = None
    enabled: set[str] = field(default_factory=set)
    fault: Fault | None = None
    """The fault of the command under way."""
    _held_back: list[bytes] = field(default_factory=list)
    _gathered: bytearray = field(default_factory=bytearray)

    @property
    def folders(self) -> MailboxFolders:
        """The user's folders. Raises BadError before the login."""
        if self.mailbox is None:
            raise BadError("log in first")
        return self.mailbox

    @property
    def view(self) -> Selected:
        """The selected folder. Raises BadError without one, and DisconnectError if it is no longer the same folder."""
        if self.selected is None:
            raise BadError("select a folder first")
        folder = self.selected.folder
        if self.folders.find(folder.id) is not folder or folder.uidvalidity != self.selected.uidvalidity:
            raise DisconnectError("The selected folder was deleted or numbered anew")
        return self.selected

    def select(self, folder: Folder, *, read_only: bool) -> Selected:
        """Select a folder."""
        self.selected = Selected(folder, read_only=read_only)
        return self.selected

    def has_fault(self, kind: str) -> bool:
        """Return whether the command under way suffers this fault of the plan."""
        return self.fault is not None and self.fault.kind == kind

    async def send(self, line: bytes | str) -> None:
        """Send a response with those that follow, at the end of the command at the latest. The text has no line end."""
        data = (line.encode() if isinstance(line, str) else line) + b"\r\n"
        if self.fault is not None and self.fault.damages_response:
            self._held_back.append(data)
            return
        self._gathered += data
        if len(self._gathered) >= GATHERED_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send all gathered responses."""
        self._write()
        await self.writer.drain()

    def _write(self, data: bytes = b"") -> None:
        """Write gathered responses, and `data` behind them."""
        self._gathered += data
        if self._gathered:
            self.writer.write(bytes(self._gathered))
            self._gathered.clear()

    async def send_changes(self, *, expunges: bool = True) -> None:
        """Tell the client what has changed in the selected folder."""
        if self.selected is not None:
            qresync = "QRESYNC" in self.enabled
            for line in self.view.changes(expunges=expunges, vanished=qresync, modseq=self.tells_modseq):
                await self.send(line)

    @property
    def tells_modseq(self) -> bool:
        """Whether responses carry mod-sequences (RFC 7162, section 3.1)."""
        return bool({"CONDSTORE", "QRESYNC"} & self.enabled)

    async def run(self) -> None:
        """Greet, then execute commands until the connection ends."""
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._next()
        except TimeoutError:
            self._say_bye("Autologout; idle for too long")
        except DisconnectError as end:
            self._say_bye(str(end))
        except ConnectionError:
            pass

    async def _next(self) -> None:
        try:
            command = await self.reader.command()
        except MalformedCommandError as error:
            await self._finish(f"{error.tag} BAD {error}")
            return
        email = self.user.email if self.user else None
        self.fault = self.faults.draw(_call_name(command), email, path=self._place_of(command))
        outcome = await self._outcome(command)
        self.call_counts.record(_call_name(command), email, _STATUS_OF_OUTCOME[outcome.split(" ")[0]])
        await self._finish(f"{command.tag} {outcome}")

    def _place_of(self, command: Command) -> str:
        """Return what a rule's `path` is looked for in: the selected folder's id, and the command's first argument."""
        first = command.arguments[0] if command.arguments else ""
        text = first.decode("latin-1") if isinstance(first, bytes) else first
        selected = self.selected.folder.id if self.selected else ""
        return f"{selected} {text}" if isinstance(text, str) else selected

    async def _outcome(self, command: Command) -> str:
        await self._suffer_before()
        if command.name in self.profile.deadly:
            raise DisconnectError
        try:
            if self.fault is not None and self.fault.kind == "error":
                raise NoError(self.fault.message, code=self.fault.reason if self.fault.reason.isupper() else "")
            handler = self.handlers.get(command.name)
            if handler is None:
                raise BadError(f"unknown command {command.name}")
            return f"OK {await handler(self, command)}"
        except NoError as refusal:
            return f"NO {refusal}"
        except BadError as error:
            return f"BAD {error}"

    async def _suffer_before(self) -> None:
        """Apply a fault that acts before the command."""
        match self.fault:
            case Fault(kind="slow"):
                await self.faults.hold(self.fault.seconds)
            case Fault(kind="timeout"):
                await asyncio.sleep(self.fault.seconds)
                self.abort()
            case Fault(kind="reset"):
                self.abort()
            case Fault(kind="bye"):
                raise DisconnectError(self.fault.message)
            case _:
                pass

    async def _finish(self, tagged: str) -> None:
        fault = self.fault
        if fault is not None and fault.damages_response:
            await self._send_damaged(b"".join(self._held_back) + tagged.encode() + b"\r\n", fault)
        else:
            self._write(tagged.encode() + b"\r\n")
        self.fault = None
        self._held_back.clear()
        await self.writer.drain()

    async def _send_damaged(self, whole: bytes, fault: Fault) -> None:
        match fault.kind:
            case "lost_response":
                self.abort()
            case "garbage":
                self.writer.write(whole[: len(whole) // 2].replace(b"(", b"[").replace(b"FETCH", b"FE?CH") + b"\r\n")
            case "slow_body":
                step = len(whole) // 10 + 1
                for start in range(0, len(whole), step):
                    self.writer.write(whole[start : start + step])
                    await self.writer.drain()
                    await asyncio.sleep(fault.seconds / 10)
            case _:
                self.writer.write(whole[: _cut(whole, in_literal=fault.kind == "cut_literal")])
                await self.writer.drain()
                raise DisconnectError

    def abort(self) -> None:
        """Drop the connection without a word. Raises DisconnectError."""
        self.writer.transport.abort()
        raise DisconnectError

    def _say_bye(self, text: str) -> None:
        if text and not self.writer.transport.is_closing():
            self._write(f"* BYE {text}\r\n".encode())
