"""Folders: LIST, STATUS and EXAMINE, which selects a folder without changing anything (RFC 9051, section 6.3)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from services.mail.providers.imap.client.commands import Argument, Command, atom, command, group, string
from services.mail.providers.imap.client.connection import Connection, SelectedFolder, refusal
from services.mail.providers.imap.client.errors import MalformedResponseError, RefusedError
from services.mail.providers.imap.client.namespaces import Namespaces
from services.mail.providers.imap.client.responses import Data, Status
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange, ranges_of
from services.mail.providers.imap.client.values import Value, number_of, pairs_of, text_of

INBOX: Final = b"INBOX"
# Commands that are on their way at once: more answers than these would fill the buffers of both sides.
_PIPELINED: Final = 50
# Each is a row, and a command of each poll.
_MOST_FOLDERS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFolder:
    """A folder: its name as the server writes it, the separator of its parts, and its attributes in lower case."""

    name: bytes
    separator: bytes | None
    attributes: frozenset[str]

    @property
    def holds_mail(self) -> bool:
        """Whether the folder can be selected."""
        return not self.attributes & {"\\noselect", "\\nonexistent"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderList:
    """The folders of a mailbox. Without `is_complete` a line could not be read: a folder may be there all the same."""

    folders: Sequence[ListedFolder]
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """Numbers of a folder; None for those that the server does not give.

    The meanings are those of RFC 9051, `modseq` is HIGHESTMODSEQ of RFC 7162, `object_id` MAILBOXID of RFC 8474.
    """

    exists: int | None = None
    uid_next: int | None = None
    uid_validity: int | None = None
    modseq: int | None = None
    object_id: str | None = None
    unseen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A selected folder. `vanished` are UIDs that are gone since the given modseq, or earlier."""

    status: FolderStatus
    vanished: Sequence[UidRange] = ()


class Answers:
    """What a server tells of folders. It is read when it is asked for: most polls tell what the one before has told."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._responses: list[Data] = []
        self._refused: dict[bytes, RefusedError] = {}

    def collect(self, response: Data | Status) -> None:
        """Take a response, if it is one of LIST or STATUS."""
        if isinstance(response, Data) and response.name in ("LIST", "STATUS"):
            self._responses.append(response)

    def refuse(self, names: Sequence[bytes], ended: Sequence[Status]) -> None:
        """Take the refusals among the ends of STATUS commands for these folders."""
        for name, status in zip(names, ended, strict=True):
            if status.kind != "OK":
                self._refused[name] = refusal("STATUS", status)

    def digest(self) -> bytes | None:
        """Return a digest of the answers, equal for equal ones; None if some are refused, or have names as literals."""
        if self._refused or any(response.frame.literals for response in self._responses):
            return None
        # A line has no line end within.
        return blake2b(b"\n".join(response.frame.texts[0] for response in self._responses), digest_size=16).digest()

    def folders(self) -> FolderList:
        """Return the user's own folders. Raises MalformedResponseError for far too many."""
        found: dict[bytes, ListedFolder] = {}
        unread = 0
        for response in self._responses:
            if response.name == "LIST":
                try:
                    folder = _listed(response.values())
                except MalformedResponseError:
                    unread += 1
                else:
                    if not self._namespaces.is_foreign(folder.name):
                        found[folder.name] = folder
        if len(found) > _MOST_FOLDERS:
            raise MalformedResponseError(f"{len(found)} folders")
        return FolderList(folders=list(found.values()), is_complete=not unread)

    def statuses(self) -> Mapping[bytes, FolderStatus | RefusedError]:
        """Return the statuses of folders, or the refusals."""
        found: dict[bytes, FolderStatus | RefusedError] = {}
        for response in self._responses:
            if response.name == "STATUS":
                with suppress(MalformedResponseError):
                    name, status = _status(response.values())
                    found[name] = status
        return found | self._refused


async def list_folders(connection: Connection) -> FolderList:
    """Return the user's own folders, unsubscribed ones too.

    Raises RefusedError; MalformedResponseError for far too many.
    """
    found = Answers(connection.namespaces)
    await connection.run(_ask_list(connection), collect=found.collect)
    return found.folders()


def _ask_list(connection: Connection) -> Command:
    arguments = [string(b""), string(b"*")]
    if connection.has("SPECIAL-USE") and connection.has("LIST-EXTENDED"):
        arguments += [atom("RETURN"), group([atom("SPECIAL-USE")])]
    return command("LIST", *arguments)


def _listed(values: Sequence[Value]) -> ListedFolder:
    if len(values) < 3 or not isinstance(values[0], list):
        raise MalformedResponseError("no folder")
    # A folder can be called NIL.
    name = b"NIL" if values[2] is None else text_of(values[2])
    if name is None:
        raise MalformedResponseError("a folder without a name")
    attributes = frozenset(each.decode("ascii", "replace").lower() for each in values[0] if isinstance(each, bytes))
    return ListedFolder(name=_canonical(name), separator=text_of(values[1]), attributes=attributes)


def _canonical(name: bytes) -> bytes:
    return INBOX if name.upper() == INBOX else name


async def statuses(connection: Connection, names: Sequence[bytes]) -> Mapping[bytes, FolderStatus | RefusedError]:
    """Return the status of each folder, or the refusal. Not for the selected folder: its numbers may be old."""
    found = Answers(connection.namespaces)
    found.refuse(names, await _run_batches(connection, [_ask_status(connection, name) for name in names], found))
    return found.statuses()


async def list_with_statuses(connection: Connection, names: Sequence[bytes]) -> Answers:
    """Ask for all folders, and for the statuses of those that are likely to be there: one round trip for a few.

    The server tells of news of the selected folder before. Raises RefusedError.
    """
    found = Answers(connection.namespaces)
    commands = [command("NOOP"), _ask_list(connection), *(_ask_status(connection, name) for name in names)]
    _, listed, *ended = await _run_batches(connection, commands, found)
    if listed.kind != "OK":
        raise refusal("LIST", listed)
    found.refuse(names, ended)
    return found


async def _run_batches(connection: Connection, commands: Sequence[Command], found: Answers) -> list[Status]:
    return [status for some in _batches(commands) for status in await connection.run_all(some, collect=found.collect)]


def _ask_status(connection: Connection, name: bytes) -> Command:
    wanted = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
    # Where no number tells of marks, the count of unseen messages tells of most.
    wanted += ["HIGHESTMODSEQ" if connection.has("CONDSTORE") else "UNSEEN"]
    wanted += ["MAILBOXID"] * connection.has("OBJECTID")
    return command("STATUS", string(name), group(map(atom, wanted)))


def _batches(commands: Sequence[Command]) -> list[list[Command]]:
    """Return the commands in order, those with literals alone."""
    batches: list[list[Command]] = [[]]
    for each in commands:
        last = batches[-1]
        if last and (len(each.parts) > 1 or len(last[-1].parts) > 1 or len(last) == _PIPELINED):
            batches.append([])
        batches[-1].append(each)
    return [batch for batch in batches if batch]


def _status(values: Sequence[Value]) -> tuple[bytes, FolderStatus]:
    name = text_of(values[0]) if len(values) == 2 else None
    if name is None:
        raise MalformedResponseError("no status")
    given = pairs_of(values[1])
    object_id = given.get("MAILBOXID")
    return _canonical(name), FolderStatus(
        exists=number_of(given.get("MESSAGES")),
        uid_next=_uid_next(given.get("UIDNEXT")),
        uid_validity=number_of(given.get("UIDVALIDITY")),
        modseq=number_of(given.get("HIGHESTMODSEQ")) or None,
        object_id=_object_id(object_id),
        unseen=number_of(given.get("UNSEEN")),
    )


def _uid_next(value: Value) -> int | None:
    """Return the next UID; None for what no message can have."""
    number = number_of(value)
    return number if number is not None and 0 < number <= HIGHEST_UID + 1 else None


def _object_id(value: Value) -> str | None:
    text = text_of(value[0]) if isinstance(value, list) and value else None
    return None if text is None else text.decode("ascii", "replace")


async def examine(connection: Connection, name: bytes, *, since: tuple[int, int] | None = None) -> Examined:
    """Select a folder for reading. Raises RefusedError; then none is selected.

    `since` are the UIDVALIDITY and modseq up to which the caller knows the folder, for connections with QRESYNC
    enabled: the answer has what is gone since. The server ignores it silently where the UIDVALIDITY is another one.
    It also names all changed messages, which are asked for in parts instead.
    """
    codes: dict[str, bytes] = {}
    gone: list[Data] = []

    def collect(response: Data | Status) -> None:
        if isinstance(response, Data):
            if response.name == "VANISHED":
                gone.append(response)
            else:
                connection.forget(response)
        elif response.code == "CLOSED":
            # What came before is of the folder that was selected until now (RFC 7162, section 3.2.11).
            gone.clear()
            codes.clear()
        elif response.code:
            codes[response.code] = response.argument

    connection.selected = selected = SelectedFolder(name)
    arguments = [string(name), *_select_parameters(connection, since)]
    try:
        await connection.run(command("EXAMINE", *arguments), collect=collect)
    except RefusedError:
        connection.selected = None
        raise
    selected.news = 0
    selected.validity = number_of(codes.get("UIDVALIDITY"))
    selected.uid_next = _uid_next(codes.get("UIDNEXT"))
    selected.modseq = number_of(codes.get("HIGHESTMODSEQ")) or None
    return Examined(
        status=FolderStatus(
            exists=selected.exists,
            uid_next=selected.uid_next,
            uid_validity=selected.validity,
            modseq=selected.modseq,
            object_id=_object_in(codes.get("MAILBOXID")),
        ),
        vanished=[each for response in gone for each in _vanished(response)],
    )


def _vanished(response: Data) -> Sequence[UidRange]:
    try:
        *_, uids = response.values()
    except (MalformedResponseError, ValueError):
        return ()
    return () if (text := text_of(uids)) is None else ranges_of(text)


def _select_parameters(connection: Connection, since: tuple[int, int] | None) -> list[Argument]:
    if since is not None and "QRESYNC" in connection.enabled:
        known = group([atom(str(number)) for number in since])
        return [group([atom("QRESYNC"), known])]
    return [group([atom("CONDSTORE")])] if connection.has("CONDSTORE") else []


def _object_in(argument: bytes | None) -> str | None:
    return None if argument is None else argument.strip(b"()").decode("ascii", "replace")
