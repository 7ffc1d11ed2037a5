"""Parts of a message: BODYSTRUCTURE, and sections of the body (RFC 9051, section 6.4.5)."""

import re
from collections.abc import Sequence
from itertools import batched
from typing import Final

from services.mail.providers.imap.client.commands import atom, command, group, sequence
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.messages import fetched_in
from services.mail.providers.imap.client.responses import Data, Status
from services.mail.providers.imap.client.values import Atom, Value, number_of

_SECTION: Final = re.compile(r"BODY\[(.*)\](?:<\d+>)?")
# Sections of a command: their names fit into a line that every server takes.
_AT_ONCE: Final = 50


async def fetch_structure(connection: Connection, uid: int) -> Value:
    """Return the BODYSTRUCTURE of a message. Raises RefusedError, MalformedResponseError."""
    found: list[Value] = []

    def collect(response: Data | Status) -> None:
        given = fetched_in(response)
        if given is not None and number_of(given.get("UID")) == uid and "BODYSTRUCTURE" in given:
            found.append(given["BODYSTRUCTURE"])

    wanted = group([atom("UID"), atom("BODYSTRUCTURE")])
    await connection.run(command("UID FETCH", sequence(str(uid)), wanted), collect=collect)
    if not found:
        raise MalformedResponseError("no body structure")
    return found[-1]


async def fetch_sections(connection: Connection, uid: int, sections: Sequence[str]) -> dict[str, bytes]:
    """Return sections of a message by name, without those that the server does not give; NIL is an empty one.

    A section can end with `<0.n>` for its first n bytes, which the names in the result have not. Raises RefusedError.
    """
    found: dict[str, bytes] = {}

    def collect(response: Data | Status) -> None:
        given = fetched_in(response)
        if given is None or number_of(given.get("UID")) != uid:
            return
        for name, value in given.items():
            section = _SECTION.fullmatch(name)
            if section and (value is None or (isinstance(value, bytes) and not isinstance(value, Atom))):
                found[section[1]] = value or b""

    for some in batched(sections, _AT_ONCE, strict=False):
        wanted = group([atom("UID"), *(atom(_peek(section)) for section in some)])
        await connection.run(command("UID FETCH", sequence(str(uid)), wanted), collect=collect)
    return found


def _peek(section: str) -> str:
    name, _, bounds = section.partition("<")
    return f"BODY.PEEK[{name}]" + (f"<{bounds}" if bounds else "")
