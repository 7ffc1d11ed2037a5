"""Commands on folders as a whole (RFC 9051, section 6.3; RFC 5258, 5819, 6154, 8474)."""

import re
from collections.abc import Callable, Iterator

from services.sandbox.imap.errors import BadError, NoError
from services.sandbox.imap.folders import ROLES, Folder
from services.sandbox.imap.modified_utf7 import decode, encode
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, Token, atom, string
from services.sandbox.mailboxes.labels import Label


def name_of(session: Session, folder: Folder) -> str:
    """Return the name of a folder, with the separator of the profile between its parts."""
    if folder.id == "INBOX":
        return "INBOX"
    if folder.id in ROLES:
        return session.profile.folder_names[folder.id]
    return session.folders.mailbox.labels[folder.id].name.replace("/", session.profile.separator)


def find_folder(session: Session, token: Token) -> Folder:
    """Return the folder that a client names. Raises NoError."""
    try:
        name = decode(atom(token).encode("latin-1"))
    except ValueError:
        raise NoError("Folder encoding error", code="CLIENTBUG") from None
    folder = session.folders.find(_id_of(session, name))
    if folder is None:
        raise NoError("No such folder.", code="NONEXISTENT")
    return folder


def _id_of(session: Session, name: str) -> str:
    """Return the id of the folder with this name, empty if there is none."""
    if name.upper() == "INBOX":
        return "INBOX"
    role = next((role for role, shown in session.profile.folder_names.items() if shown == name), None)
    if role is not None:
        return role
    wanted, labels = name.replace(session.profile.separator, "/"), session.folders.mailbox.labels
    return next((label.id for label in labels.values() if label.name == wanted and not label.is_system), "")


async def list_folders(session: Session, command: Command) -> str:
    """LIST, with RETURN (STATUS ...) and selection of special uses where the profile has them."""
    arguments, statuses = list(command.arguments), None
    if arguments and isinstance(arguments[0], list):
        _demand(session, "LIST-EXTENDED")
        arguments.pop(0)
    if len(arguments) > 2:
        _demand(session, "LIST-EXTENDED")
        statuses = _returned_statuses(arguments[2:])
    if len(arguments) < 2:
        raise BadError("LIST takes a reference and a pattern")
    pattern = arguments[1]
    patterns = [atom(each) for each in pattern] if isinstance(pattern, list) else [atom(pattern)]
    if patterns == [""]:
        await session.send(f'* LIST (\\Noselect) "{session.profile.separator}" ""')
        return f"{command.name} Completed."
    matches = _matcher(atom(arguments[0]), patterns, session.profile.separator)
    names = {folder.id: name_of(session, folder) for folder in session.folders.all()}
    parents = {parent for name in names.values() for parent in _parents(name, session.profile.separator)}
    for folder in session.folders.all():
        name = names[folder.id]
        if matches(encode(name).decode()):
            await session.send(_line(session, command.name, folder, name, has_children=name in parents))
            if statuses:
                await session.send(_status_line(session, folder, statuses))
    return f"{command.name} Completed."


async def status(session: Session, command: Command) -> str:
    """STATUS."""
    if len(command.arguments) != 2 or not isinstance(command.arguments[1], list):
        raise BadError("STATUS takes a folder and a list of items")
    folder = find_folder(session, command.arguments[0])
    await session.send(_status_line(session, folder, [atom(item).upper() for item in command.arguments[1]]))
    return "STATUS Completed."


async def namespace(session: Session, _: Command) -> str:
    """NAMESPACE (RFC 2342)."""
    await session.send(f'* NAMESPACE (("" "{session.profile.separator}")) NIL NIL')
    return "NAMESPACE Completed."


async def create(session: Session, command: Command) -> str:
    """CREATE: a label of the user."""
    mailbox, name = session.folders.mailbox, _new_name(session, command, 0)
    label = Label(mailbox.new_label_id(), name)
    mailbox.labels[label.id] = label
    return "CREATE Completed."


async def delete(session: Session, command: Command) -> str:
    """DELETE: the label goes, and with it the messages that have no other place."""
    folder = _user_folder(session, command)
    mailbox = session.folders.mailbox
    for message in list(folder.messages.values()):
        if len(session.folders.places_of(message)) == 1:
            mailbox.delete(message)
    mailbox.remove_label(mailbox.labels[folder.id])
    return "DELETE Completed."


async def rename(session: Session, command: Command) -> str:
    """RENAME: UIDs and UIDVALIDITY stay."""
    folder, name = _user_folder(session, command), _new_name(session, command, 1)
    session.folders.mailbox.labels[folder.id].name = name
    return "RENAME Completed."


async def subscribe(session: Session, command: Command) -> str:
    """SUBSCRIBE and UNSUBSCRIBE: every folder is subscribed to all the time."""
    find_folder(session, command.arguments[0] if command.arguments else "")
    return f"{command.name} Completed."


def _user_folder(session: Session, command: Command) -> Folder:
    folder = find_folder(session, command.arguments[0] if command.arguments else "")
    if folder.id in ROLES:
        raise NoError("This folder stays.", code="CANNOT")
    return folder


def _new_name(session: Session, command: Command, position: int) -> str:
    if len(command.arguments) <= position:
        raise BadError(f"{command.name} takes a name")
    try:
        name = decode(atom(command.arguments[position]).encode("latin-1"))
    except ValueError:
        raise NoError("Folder encoding error", code="CLIENTBUG") from None
    name = name.rstrip(session.profile.separator)
    if not name or name in {name_of(session, folder) for folder in session.folders.all()}:
        raise NoError("Folder exists.", code="ALREADYEXISTS")
    return name.replace(session.profile.separator, "/")


def _demand(session: Session, extension: str) -> None:
    if not session.profile.has(extension):
        raise BadError(f"{extension} is not offered")


def _returned_statuses(tokens: list[Token]) -> list[str] | None:
    """Return the items of RETURN (STATUS (...)), None without them."""
    if len(tokens) != 2 or atom(tokens[0]).upper() != "RETURN" or not isinstance(tokens[1], list):
        raise BadError("malformed RETURN")
    for name, value in zip(tokens[1], tokens[1][1:], strict=False):
        if isinstance(name, str) and name.upper() == "STATUS" and isinstance(value, list):
            return [atom(item).upper() for item in value]
    return None


def _matcher(reference: str, patterns: list[str], separator: str) -> Callable[[str], bool]:
    """Return the test of names: `*` stands for anything, `%` for anything within one level."""
    wild = {"*": ".*", "%": f"[^{re.escape(separator)}]*"}
    compiled = [
        re.compile("".join(wild.get(part, re.escape(part)) for part in re.split(r"([*%])", reference + pattern)))
        for pattern in patterns
    ]
    return lambda name: any(
        each.fullmatch(name) or (name == "INBOX" and each.fullmatch(name.lower())) for each in compiled
    )


def _parents(name: str, separator: str) -> Iterator[str]:
    """Yield the names of all folders above one."""
    while separator in name:
        name = name.rpartition(separator)[0]
        yield name


def _line(session: Session, command: str, folder: Folder, name: str, *, has_children: bool) -> bytes:
    attributes = ["\\HasChildren" if has_children else "\\HasNoChildren"]
    if role := session.profile.roles.get(folder.id):
        attributes.append(role)
    head = f'* {command} ({" ".join(attributes)}) "{session.profile.separator}" '.encode()
    return head + (b"INBOX" if folder.id == "INBOX" else string(encode(name)))


def _status_line(session: Session, folder: Folder, items: list[str]) -> bytes:
    stale = session.has_fault("stale_status")
    # As before the newest message arrived.
    unannounced = 1 if stale and folder.uids and folder.uids[-1] == folder.uidnext - 1 else 0
    unread = sum("UNREAD" in message.labels for message in folder.messages.values()) if "UNSEEN" in items else 0
    values = {
        "MESSAGES": len(folder.uids) - unannounced,
        "UIDNEXT": folder.uidnext - unannounced,
        "UIDVALIDITY": folder.uidvalidity,
        "UNSEEN": unread,
        "RECENT": 0,
    }
    if session.profile.has("CONDSTORE"):
        earlier = max(map(folder.modseq_of, folder.uids[:-1]), default=1)
        values["HIGHESTMODSEQ"] = earlier if unannounced else folder.modseq
    if "SIZE" in items and session.profile.has("STATUS=SIZE"):
        values["SIZE"] = sum(session.folders.size_of(message) for message in folder.messages.values())
    parts = [f"{item} {values[item]}" for item in items if item in values]
    if "MAILBOXID" in items and session.profile.has("OBJECTID"):
        parts.append(f"MAILBOXID ({folder.id})")
    unknown = set(items) - values.keys() - {"MAILBOXID"}
    if unknown or ("MAILBOXID" in items and not session.profile.has("OBJECTID")):
        raise BadError(f"unknown item {min(unknown, default='MAILBOXID')}")
    name = encode(name_of(session, folder))
    return b"* STATUS " + (name if folder.id == "INBOX" else string(name)) + f" ({' '.join(parts)})".encode()
