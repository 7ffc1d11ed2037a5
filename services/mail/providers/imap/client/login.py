"""Sign-in with an OAuth token: OAUTHBEARER (RFC 7628) and XOAUTH2 (its vendors' predecessor), over SASL (RFC 4959)."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from services.mail.providers.imap.client.commands import Argument, atom, command, group, string
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import ask_capabilities
from services.mail.providers.imap.client.errors import (
    ConnectionLostError,
    FramingError,
    LoginRefusedError,
    MalformedResponseError,
    NoMechanismError,
    RefusedError,
    UnsafeArgumentError,
)
from services.mail.providers.imap.client.namespaces import Namespaces, namespaces_of
from services.mail.providers.imap.client.responses import Data, Status, names_in

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_USER: Final = re.compile(r"[^\x00-\x1f\x7f]+")
# A refusal has one challenge. A server that goes on asking is not answered for ever.
_MOST_CHALLENGES: Final = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The user and the access token, and the address that was connected to. `repr` hides the token."""

    user: str
    token: str
    host: str
    port: int

    def __repr__(self) -> str:
        """Return the user and the address."""
        return f"Credentials(user={self.user!r}, host={self.host!r}, port={self.port})"


def _xoauth2(given: Credentials) -> str:
    return f"user={given.user}\x01auth=Bearer {given.token}\x01\x01"


def _oauthbearer(given: Credentials) -> str:
    user = given.user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={user},\x01host={given.host}\x01port={given.port}\x01auth=Bearer {given.token}\x01\x01"


@dataclass(frozen=True, slots=True)
class _Mechanism:
    initial: Callable[[Credentials], str]
    # Ends the exchange after the server's challenge, which says why it refuses.
    surrender: bytes


MECHANISMS: Final[Mapping[str, _Mechanism]] = {
    "XOAUTH2": _Mechanism(_xoauth2, b""),
    "OAUTHBEARER": _Mechanism(_oauthbearer, b"AQ=="),
}
"""By name, the most tried first."""


async def log_in(connection: Connection, credentials: Credentials, *, prefer: str = "XOAUTH2") -> None:
    """Sign in, and learn the capabilities that count from now on. Raises LoginRefusedError, NoMechanismError.

    `prefer` is the mechanism to use where the server offers both, or none.
    Neither errors nor logs contain the token.
    """
    if not _TOKEN.fullmatch(credentials.token) or not _USER.fullmatch(credentials.user):
        raise UnsafeArgumentError("a control character in a user or token")
    name = choose(connection, prefer=prefer)
    before = connection.capabilities
    connection.capabilities = frozenset()
    try:
        await _authenticate(connection, name, credentials, with_initial="SASL-IR" in before)
    except ConnectionLostError as error:
        # Its text is the server's, which may repeat what it got.
        raise type(error)("the connection ended during sign-in") from None
    if not connection.capabilities:
        await ask_capabilities(connection)


def choose(connection: Connection, *, prefer: str = "XOAUTH2") -> str:
    """Return the mechanism to use. A server that advertises none at all may still know XOAUTH2: older ones do."""
    offered = {each.removeprefix("AUTH=") for each in connection.capabilities if each.startswith("AUTH=")}
    for name in (prefer, *MECHANISMS):
        if name in offered or not offered:
            return name
    raise NoMechanismError(f"the server offers {', '.join(sorted(offered))} only")


async def _authenticate(connection: Connection, name: str, credentials: Credentials, *, with_initial: bool) -> None:
    mechanism = MECHANISMS[name]
    initial = base64.b64encode(mechanism.initial(credentials).encode())
    answers = [*[mechanism.surrender] * _MOST_CHALLENGES, b"*"]
    if with_initial:
        lines = iter(answers)
        sent = command("AUTHENTICATE", atom(name), Argument(initial))
    else:
        lines = iter([initial, *answers])
        sent = command("AUTHENTICATE", atom(name))

    def reply(_: bytes) -> bytes:
        line = next(lines, None)
        if line is None:
            raise FramingError("the server goes on asking")
        return line

    [status] = await connection.run_all([sent], reply=reply)
    if status.kind != "OK":
        text = status.text.replace(credentials.token, "...").replace(initial.decode(), "...")
        raise LoginRefusedError("AUTHENTICATE", status=status.kind, code=status.code, text=text)


async def introduce(connection: Connection, names: Mapping[str, str]) -> None:
    """Name the client (RFC 2971) where the server advertises it; a refusal changes nothing."""
    if not connection.has("ID"):
        return
    fields = group(string(word.encode()) for pair in names.items() for word in pair)
    try:
        await connection.run(command("ID", fields))
    except RefusedError as error:
        log.info("the mail server takes no name", error=str(error))


async def enable(connection: Connection, *extensions: str) -> None:
    """Enable the extensions (RFC 5161) that the server advertises; `connection.enabled` has those that it confirms."""
    wanted = [each for each in extensions if connection.has(each)]
    if not wanted or not connection.has("ENABLE"):
        return
    confirmed: set[str] = set()

    def collect(response: Data | Status) -> None:
        if isinstance(response, Data) and response.name == "ENABLED":
            confirmed.update(names_in(response.frame.texts[0][response.end :]))

    try:
        await connection.run(command("ENABLE", *map(atom, wanted)), collect=collect)
    except RefusedError as error:
        log.info("the mail server enables nothing", error=str(error))
    else:
        connection.enabled |= confirmed


async def learn_namespaces(connection: Connection) -> None:
    """Ask which folders are the user's own, where the server advertises it (RFC 2342); else all are."""
    if not connection.has("NAMESPACE"):
        return
    given: list[Data] = []

    def collect(response: Data | Status) -> None:
        if isinstance(response, Data) and response.name == "NAMESPACE":
            given.append(response)

    try:
        await connection.run(command("NAMESPACE"), collect=collect)
        connection.namespaces = namespaces_of(given[-1].values()) if given else Namespaces()
    except (RefusedError, MalformedResponseError) as error:
        log.info("the mail server tells no namespaces", error=str(error))


async def log_out(connection: Connection) -> None:
    """End the session and close the connection. Raises nothing."""
    if not connection.is_open:
        return
    try:
        await connection.run(command("LOGOUT"))
    except Exception as error:  # noqa: BLE001 - the connection is closed in any case, and the server says BYE first
        log.debug("the mail server ended the session", error=type(error).__name__)
    finally:
        connection.close()
