"""STORE, COPY, MOVE and APPEND (RFC 9051, 6.3.12 and 6.4; RFC 4315, 6851)."""

from datetime import datetime

from services.sandbox.imap import flags, sequence_set
from services.sandbox.imap.commands.fetch import found
from services.sandbox.imap.commands.listing import find_folder
from services.sandbox.imap.commands.selecting import writable
from services.sandbox.imap.errors import BadError, NoError
from services.sandbox.imap.folders import ARCHIVE, Folder
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, Token, atom
from services.sandbox.mailboxes.mailbox import Message
from services.sandbox.mime.content import StoredContent


async def store(session: Session, command: Command, *, by_uid: bool = False) -> str:
    """STORE and UID STORE, with UNCHANGEDSINCE where the profile has CONDSTORE."""
    view, arguments = writable(session), list(command.arguments)
    unchanged_since = _unchanged_since(session, arguments)
    if len(arguments) < 3:
        raise BadError("STORE takes a set, an item and flags")
    item, names = atom(arguments[1]).upper(), _flags(arguments[2:])
    if item.removesuffix(".SILENT") not in ("FLAGS", "+FLAGS", "-FLAGS"):
        raise BadError("unknown item")
    refused = []
    for _, uid, message in found(view, arguments[0], by_uid=by_uid):
        if unchanged_since is not None and view.folder.modseq_of(uid) > unchanged_since:
            refused.append(uid)
            continue
        add, remove = _label_changes(message, item[0], names)
        session.folders.mailbox.relabel(message, add=add, remove=remove)
        if item.endswith(".SILENT"):
            view.forget_flags(uid)
        else:
            await session.send(view.flags_line(uid, message.labels, modseq=session.tells_modseq))
            view.forget_flags(uid)
    await session.send_changes(expunges=by_uid)
    return f"[MODIFIED {sequence_set.compact(refused)}] STORE Completed." if refused else "STORE Completed."


async def copy(session: Session, command: Command, *, by_uid: bool = False) -> str:
    """COPY and UID COPY: the message is in the other folder too, and stays the same one."""
    target, chosen = _target(session, command, by_uid=by_uid)
    for _, message in chosen:
        if target.id != ARCHIVE:
            session.folders.mailbox.relabel(message, add=(target.id,))
    await session.send_changes(expunges=by_uid)
    return f"{_copy_uid(chosen, target)}COPY Completed."


async def move(session: Session, command: Command, *, by_uid: bool = False) -> str:
    """MOVE and UID MOVE."""
    view = writable(session)
    target, chosen = _target(session, command, by_uid=by_uid)
    for _, message in chosen:
        add = () if target.id == ARCHIVE else (target.id,)
        remove = () if view.folder.id == ARCHIVE or view.folder is target else (view.folder.id,)
        session.folders.mailbox.relabel(message, add=add, remove=remove)
    await session.send(f"* OK {_copy_uid(chosen, target)}Moved")
    await session.send_changes()
    return "MOVE Completed."


async def append(session: Session, command: Command) -> str:
    """APPEND, with flags and time."""
    arguments = list(command.arguments)
    if len(arguments) < 2 or not isinstance(arguments[-1], bytes):
        raise BadError("APPEND takes a folder and a literal")
    try:
        folder = find_folder(session, arguments[0])
    except NoError as error:
        raise NoError("No such folder.", code="TRYCREATE") from error
    names, moment = list[str](), None
    for token in arguments[1:-1]:
        if isinstance(token, list):
            names = _flags([token])
        else:
            moment = _moment(atom(token))
    add, remove = flags.replacement(frozenset(), names)
    labels = ({"UNREAD"} | add) - (remove if "\\seen" in (name.lower() for name in names) else set())
    if folder.id != ARCHIVE:
        labels.add(folder.id)
    message = session.folders.mailbox.add(StoredContent(arguments[-1]), labels=labels, internal_date=moment)
    uid = folder.uid_of(message.id)
    await session.send_changes()
    return f"[APPENDUID {folder.uidvalidity} {uid}] APPEND Completed."


def _flags(tokens: list[Token]) -> list[str]:
    flat = tokens[0] if len(tokens) == 1 and isinstance(tokens[0], list) else tokens
    return [atom(token) for token in flat]


def _label_changes(message: Message, sign: str, names: list[str]) -> tuple[set[str], set[str]]:
    match sign:
        case "+":
            return flags.change(names, add=True)
        case "-":
            return flags.change(names, add=False)
        case _:
            return flags.replacement(message.labels, names)


def _unchanged_since(session: Session, arguments: list[Token]) -> int | None:
    """Take UNCHANGEDSINCE out of the arguments and return it, None without one."""
    modifiers = arguments[1] if len(arguments) > 1 else None
    if not isinstance(modifiers, list):
        return None
    del arguments[1]
    words = [atom(each).upper() for each in modifiers]
    if not session.profile.has("CONDSTORE") or len(words) != 2 or words[0] != "UNCHANGEDSINCE":
        raise BadError("STORE modifiers are not offered")
    session.enabled.add("CONDSTORE")
    return int(words[1])


def _target(session: Session, command: Command, *, by_uid: bool) -> tuple[Folder, list[tuple[int, Message]]]:
    if len(command.arguments) != 2:
        raise BadError(f"{command.name} takes a set and a folder")
    try:
        target = find_folder(session, command.arguments[1])
    except NoError as error:
        raise NoError("No such folder.", code="TRYCREATE") from error
    chosen = found(session.view, command.arguments[0], by_uid=by_uid)
    return target, [(uid, message) for _, uid, message in chosen]


def _copy_uid(chosen: list[tuple[int, Message]], target: Folder) -> str:
    """Return COPYUID with a space behind it, empty where nothing has a UID in the target (RFC 4315)."""
    pairs = [(uid, target.uid_of(message.id)) for uid, message in chosen]
    known = [(old, new) for old, new in pairs if new is not None]
    if not known:
        return ""
    old = ",".join(str(uid) for uid, _ in known)
    new = ",".join(str(uid) for _, uid in known)
    return f"[COPYUID {target.uidvalidity} {old} {new}] "


def _moment(text: str) -> int:
    try:
        return int(datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp() * 1000)
    except ValueError as error:
        raise BadError("malformed time") from error
