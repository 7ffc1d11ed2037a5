"""Commands of a connection before and around its login (RFC 9051, 6.1 and 6.2; RFC 7628; Google "XOAUTH2")."""

import base64
import binascii
import json
import re

from services.sandbox.imap.errors import BadError, DisconnectError, NoError
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, atom, string

_XOAUTH2 = re.compile(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01")
_OAUTHBEARER = re.compile(r"n,(?:a=([^,]*))?,\x01(?:[a-z]+=[^\x01]*\x01)*?auth=Bearer ([^\x01]*)\x01(?:[^\x01]*\x01)*")


async def capability(session: Session, _: Command) -> str:
    """CAPABILITY: another list after the login."""
    profile = session.profile
    names = profile.before_login if session.user is None else profile.after_login
    await session.send(f"* CAPABILITY {' '.join(names)}")
    return "CAPABILITY Completed."


async def identify(session: Session, _: Command) -> str:
    """ID (RFC 2971)."""
    await session.send(b'* ID ("name" ' + string(session.profile.name.encode()) + b")")
    return "ID Completed."


async def noop(session: Session, _: Command) -> str:
    """NOOP and CHECK: tell what has changed."""
    await session.send_changes()
    return "NOOP Completed."


async def logout(session: Session, command: Command) -> str:
    """LOGOUT."""
    session.writer.write(f"* BYE Logging out\r\n{command.tag} OK LOGOUT Completed.\r\n".encode())
    await session.writer.drain()
    raise DisconnectError


async def enable(session: Session, command: Command) -> str:
    """ENABLE (RFC 5161): names that are not advertised are ignored."""
    known = {"CONDSTORE", "QRESYNC"} & set(session.profile.after_login)
    asked = [atom(token).upper() for token in command.arguments]
    enabled = [name for name in asked if name in known]
    session.enabled.update(enabled)
    await session.send(f"* ENABLED {' '.join(enabled)}".rstrip())
    return "ENABLE Completed."


async def login(session: Session, command: Command) -> str:
    """LOGIN: no password is ever right here, as at servers that demand OAuth."""
    raise _refusal(session, command.name)


async def authenticate(session: Session, command: Command) -> str:
    """AUTHENTICATE, with and without an initial response; that one works where SASL-IR is not advertised, too."""
    if session.user is not None:
        raise BadError("logged in already")
    if not 1 <= len(command.arguments) <= 2:
        raise BadError("AUTHENTICATE takes a mechanism")
    mechanism = atom(command.arguments[0]).upper()
    if mechanism == "PLAIN" and "AUTH=PLAIN" in session.profile.before_login:
        await _response(session, command)
        raise _refusal(session, command.name)
    if mechanism not in session.profile.mechanisms:
        raise NoError("unsupported mechanism", code="CANNOT")
    pattern = _XOAUTH2 if mechanism == "XOAUTH2" else _OAUTHBEARER
    match = pattern.fullmatch(await _response(session, command))
    admitted = session.gatekeeper.admit(session, match[2], match[1] or "") if match else None
    if admitted is None:
        if session.profile.challenges:
            await _explain(session, mechanism)
        raise _refusal(session, command.name)
    session.user, session.mailbox = admitted
    if session.profile.challenges:
        await session.send(f"* CAPABILITY {' '.join(session.profile.after_login)}")
    return "AUTHENTICATE Completed."


async def _response(session: Session, command: Command) -> str:
    """Return the decoded response of the client."""
    text = atom(command.arguments[1]).encode() if len(command.arguments) == 2 else await _ask(session, b"")
    if text == b"*":
        raise BadError("cancelled")
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise BadError("malformed base64") from error


async def _explain(session: Session, mechanism: str) -> None:
    status = "400" if mechanism == "XOAUTH2" else "invalid_token"
    facts = {"status": status, "schemes": "bearer", "scope": "mail"}
    await _ask(session, base64.b64encode(json.dumps(facts).encode()))


async def _ask(session: Session, challenge: bytes) -> bytes:
    session.writer.write(b"+ " + challenge + b"\r\n")
    await session.writer.drain()
    return await session.reader.line()


def _refusal(session: Session, command: str) -> NoError:
    return NoError(session.profile.refusal.format(command=command, session=session.id))
