"""FETCH (RFC 9051, section 6.4.5; CHANGEDSINCE and VANISHED of RFC 7162; ids of RFC 8474)."""

import asyncio
import re
from datetime import UTC, datetime

from services.sandbox.imap.commands.selecting import send_vanished
from services.sandbox.imap.errors import BadError
from services.sandbox.imap.flags import flags_of
from services.sandbox.imap.message.sections import section_of
from services.sandbox.imap.message.structure import body_structure, envelope
from services.sandbox.imap.selected import Selected
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, Token, atom, literal
from services.sandbox.mailboxes.mailbox import Message

_MACROS = {
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_BODY = re.compile(r"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d+)\.(\d+)>)?", re.IGNORECASE)
_OLD_NAMES = {"RFC822": "BODY[]", "RFC822.HEADER": "BODY.PEEK[HEADER]", "RFC822.TEXT": "BODY[TEXT]"}
# Other connections run after so many messages.
_BREATH = 50


async def fetch(session: Session, command: Command, *, by_uid: bool = False) -> str:
    """FETCH and UID FETCH. It tells no EXPUNGE unless UIDs were asked for."""
    view = session.view
    if len(command.arguments) < 2:
        raise BadError("FETCH takes a set and items")
    items = _items(command.arguments[1], by_uid=by_uid)
    since, vanished = _modifiers(session, command.arguments[2:])
    if since is not None and "MODSEQ" not in items:
        items.append("MODSEQ")
    chosen = found(view, command.arguments[0], by_uid=by_uid)
    if vanished:
        await send_vanished(session, view)
    for position, (number, uid, message) in enumerate(chosen):
        if since is not None and view.folder.modseq_of(uid) <= since:
            continue
        await _send_message(session, view, (number, uid, message), items)
        if position % _BREATH == _BREATH - 1:
            await session.flush()
            await asyncio.sleep(0)
    await session.send_changes(expunges=by_uid)
    return "FETCH Completed."


def found(view: Selected, token: Token, *, by_uid: bool) -> list[tuple[int, int, Message]]:
    """Return the messages of a set. Raises BadError if it is malformed."""
    try:
        return view.find(atom(token), by_uid=by_uid)
    except (ValueError, IndexError) as error:
        raise BadError(str(error)) from error


def _items(token: Token, *, by_uid: bool) -> list[str]:
    if isinstance(token, str) and token.upper() in _MACROS:
        names = list(_MACROS[token.upper()])
    else:
        names = [atom(each) for each in token] if isinstance(token, list) else [atom(token)]
    if by_uid and "UID" not in (name.upper() for name in names):
        names.insert(0, "UID")
    return [_OLD_NAMES.get(name.upper(), name) for name in names]


def _modifiers(session: Session, tokens: list[Token]) -> tuple[int | None, bool]:
    """Return the mod-sequence of CHANGEDSINCE, and whether VANISHED is asked for."""
    if not tokens:
        return None, False
    if not session.profile.has("CONDSTORE") or not isinstance(tokens[0], list):
        raise BadError("FETCH modifiers are not offered")
    words = [atom(each).upper() for each in tokens[0]]
    if "CHANGEDSINCE" not in words or not words[words.index("CHANGEDSINCE") + 1 :]:
        raise BadError("malformed modifiers")
    session.enabled.add("CONDSTORE")
    vanished = "VANISHED" in words
    if vanished and "QRESYNC" not in session.enabled:
        raise BadError("VANISHED: enable QRESYNC first")
    return int(words[words.index("CHANGEDSINCE") + 1]), vanished


async def _send_message(session: Session, view: Selected, entry: tuple[int, int, Message], items: list[str]) -> None:
    number, uid, message = entry
    raw: bytes | None = None
    parts = []
    for item in items:
        if raw is None and _needs_content(item):
            raw = session.folders.mailbox.content(message).raw()
            session.folders.sizes[message.id] = len(raw)
        parts.append(_rendered(session, view, uid, message, item, raw or b""))
    if not view.read_only and "UNREAD" in message.labels and any(_marks_seen(item) for item in items):
        session.folders.mailbox.relabel(message, remove=("UNREAD",))
        view.forget_flags(uid)
        parts.append(b"FLAGS (%b)" % " ".join(flags_of(message.labels)).encode())
    line = b"* %d FETCH (" % number + b" ".join(parts) + b")"
    await session.send(line)
    if session.has_fault("duplicate_uids"):
        await session.send(line)


def _needs_content(item: str) -> bool:
    return item.upper() in ("ENVELOPE", "BODY", "BODYSTRUCTURE") or "[" in item


def _marks_seen(item: str) -> bool:
    match = _BODY.fullmatch(item)
    return match is not None and match[1] is None


def _rendered(session: Session, view: Selected, uid: int, message: Message, item: str, raw: bytes) -> bytes:
    match item.upper():
        case "UID":
            return b"UID %d" % uid
        case "FLAGS":
            return f"FLAGS ({' '.join(flags_of(message.labels))})".encode()
        case "INTERNALDATE":
            moment = datetime.fromtimestamp(message.internal_date / 1000, UTC)
            return f'INTERNALDATE "{moment:%d-%b-%Y %H:%M:%S} +0000"'.encode()
        case "RFC822.SIZE":
            return b"RFC822.SIZE %d" % session.folders.size_of(message)
        case "ENVELOPE":
            return b"ENVELOPE " + envelope(raw)
        case "BODY" | "BODYSTRUCTURE" as name:
            return name.encode() + b" " + body_structure(raw, extended=name == "BODYSTRUCTURE")
        case "MODSEQ" if session.profile.has("CONDSTORE"):
            session.enabled.add("CONDSTORE")
            return b"MODSEQ (%d)" % view.folder.modseq_of(uid)
        case "EMAILID" if session.profile.has("OBJECTID"):
            return f"EMAILID (M{message.id})".encode()
        case "THREADID" if session.profile.has("OBJECTID"):
            return f"THREADID (T{message.thread_id})".encode()
        case _:
            return _section(item, raw)


def _section(item: str, raw: bytes) -> bytes:
    match = _BODY.fullmatch(item)
    if match is None:
        raise BadError(f"unknown item {item}")
    content = section_of(raw, match[2])
    name = f"BODY[{match[2].upper()}]".encode()
    if match[3] is not None:
        name += f"<{match[3]}>".encode()
        content = None if content is None else content[int(match[3]) : int(match[3]) + int(match[4])]
    return name + b" " + (b"NIL" if content is None else literal(content))
