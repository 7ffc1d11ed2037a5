"""Commands that select a folder, leave it, and remove messages from it (RFC 9051, 6.3.2 and 6.4; RFC 7162)."""

from services.sandbox.imap import sequence_set
from services.sandbox.imap.commands.listing import find_folder
from services.sandbox.imap.errors import BadError, NoError
from services.sandbox.imap.folders import ARCHIVE, Folder
from services.sandbox.imap.selected import Selected
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, Token, atom
from services.sandbox.mailboxes.mailbox import Message


async def select(session: Session, command: Command) -> str:
    """SELECT and EXAMINE, with CONDSTORE and QRESYNC where the profile has them."""
    if not command.arguments:
        raise BadError(f"{command.name} takes a folder")
    session.selected = None
    folder = find_folder(session, command.arguments[0])
    resync = _parameters(session, command.arguments[1:])
    if session.has_fault("uidvalidity_reset"):
        session.folders.reset(folder)
    read_only = command.name == "EXAMINE"
    view = session.select(folder, read_only=read_only)
    for line in _description(session, view):
        await session.send(line)
    if resync is not None:
        await _resynchronise(session, view, resync)
    return f"[{'READ-ONLY' if read_only else 'READ-WRITE'}] {command.name} Completed."


async def close(session: Session, command: Command) -> str:
    """CLOSE and UNSELECT; the first also expunges."""
    view = session.view
    if command.name == "CLOSE" and not view.read_only:
        remove(session, view.folder, _deleted(view))
    session.selected = None
    return f"{command.name} Completed."


async def expunge(session: Session, command: Command) -> str:
    """EXPUNGE and UID EXPUNGE."""
    view = writable(session)
    chosen = _deleted(view)
    if command.arguments:
        wanted = {uid for _, uid, _ in view.find(_set(command.arguments[0]), by_uid=True)}
        chosen = [(uid, message) for uid, message in chosen if uid in wanted]
    remove(session, view.folder, chosen)
    await session.send_changes()
    return "EXPUNGE Completed."


def writable(session: Session) -> Selected:
    """Return the selected folder. Raises NoError if it was opened for reading only."""
    if session.view.read_only:
        raise NoError("The folder is open for reading only.", code="CANNOT")
    return session.view


def remove(session: Session, folder: Folder, chosen: list[tuple[int, Message]]) -> None:
    """Remove messages from a folder, and for good where they have no other place."""
    mailbox = session.folders.mailbox
    for _, message in chosen:
        if folder.id == ARCHIVE or len(session.folders.places_of(message)) == 1:
            mailbox.delete(message)
        else:
            mailbox.relabel(message, remove=(folder.id, "\\Deleted"))


def _deleted(view: Selected) -> list[tuple[int, Message]]:
    messages = view.folder.messages
    return [(uid, messages[uid]) for uid in list(view.folder.uids) if "\\Deleted" in messages[uid].labels]


def _set(token: Token) -> str:
    text = atom(token)
    if not sequence_set.is_set(text):
        raise BadError("malformed set")
    return text


def _description(session: Session, view: Selected) -> list[str]:
    folder = view.folder
    surplus = 7 if session.has_fault("lying_exists") else 0
    permanent = "" if view.read_only else " ".join((*session.profile.flags, "\\Flagged", "\\*"))
    unique = " ".join(dict.fromkeys(permanent.split()))
    lines = [
        f"* FLAGS ({' '.join(session.profile.flags)})",
        f"* {len(view.uids) + surplus} EXISTS",
        "* 0 RECENT",
        f"* OK [PERMANENTFLAGS ({unique})] Limited",
        f"* OK [UIDNEXT {folder.uidnext}] Ok",
        f"* OK [UIDVALIDITY {folder.uidvalidity}] Ok",
    ]
    if session.profile.has("CONDSTORE"):
        lines.append(f"* OK [HIGHESTMODSEQ {folder.modseq}] Ok")
    if session.profile.has("OBJECTID"):
        lines.append(f"* OK [MAILBOXID ({folder.id})] Ok")
    return lines


def _parameters(session: Session, tokens: list[Token]) -> tuple[int, int] | None:
    """Return UIDVALIDITY and mod-sequence of a QRESYNC parameter, None without one."""
    parameters = tokens[0] if tokens and isinstance(tokens[0], list) else []
    if parameters and not session.profile.has("CONDSTORE"):
        raise BadError("CONDSTORE is not offered")
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, str):
            continue
        if parameter.upper() == "CONDSTORE":
            session.enabled.add("CONDSTORE")
        if parameter.upper() == "QRESYNC":
            values = parameters[position + 1] if position + 1 < len(parameters) else []
            if "QRESYNC" not in session.enabled or not isinstance(values, list) or len(values) < 2:
                raise BadError("QRESYNC: enable it first, and give UIDVALIDITY and a mod-sequence")
            return int(atom(values[0])), int(atom(values[1]))
    return None


async def _resynchronise(session: Session, view: Selected, resync: tuple[int, int]) -> None:
    uidvalidity, modseq = resync
    folder = view.folder
    if uidvalidity != folder.uidvalidity:
        return
    await send_vanished(session, view)
    for uid in view.uids:
        if folder.modseq_of(uid) > modseq:
            await session.send(view.flags_line(uid, folder.messages[uid].labels, modseq=True))


async def send_vanished(session: Session, view: Selected) -> None:
    """Tell all UIDs that are not in the folder: they may include UIDs that the client never had (RFC 7162, 3.2.10)."""
    present = set(view.folder.uids)
    gone = [uid for uid in range(1, view.folder.uidnext) if uid not in present]
    if gone:
        await session.send(f"* VANISHED (EARLIER) {sequence_set.compact(gone)}")
