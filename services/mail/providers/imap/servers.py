"""The mail servers of providers, and the file that describes further ones (PROVIDERS_FILE, TOML)."""

import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.mail.providers.limits import Bucket, CallCosts, Per, ProviderLimits

XOAUTH2: Final = "XOAUTH2"
# Servers count connections and logins rather than calls.
COSTS: Final = CallCosts()
# Units of a mailbox in a minute: a message that is fetched is one, and so is each other call. More than one connection
# brings: it is there to be closed when a server asks for that.
_UNITS: Final = 60_000
# Messages that are requested at once. They are of several folders: the more of them, the fewer selections of each.
_BATCH: Final = 100
LOGINS: Final = "logins"
REFUSALS: Final = "refused logins"
CONNECTIONS: Final = "connections"
# Logins of a mailbox in a window, of which downloads leave some to workers, and refused ones in a long one. Source:
# reports of accounts that Yandex locked after many logins within minutes. A denial is shown after 300 s of attempts,
# and then tried every 900 s.
_LOGINS: Final = 10
_FOR_WORKERS: Final = 0.4
LOGIN_WINDOW: Final = 300.0
"""Seconds."""
_LONG_WINDOWS: Final = 12
# Connections of a mailbox beside the one that a worker holds. Source: reports of servers that refused a third one.
_BESIDE: Final = 1
# Seconds. A connection that lasts longer is not counted any more.
_LONGEST_CALL: Final = 130.0
_MECHANISMS: Final = frozenset({XOAUTH2, "OAUTHBEARER"})
_PORT: Final = 993


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """A server: where it is, the mechanism that it takes if it offers several, and keywords that it sets for itself.

    Names of `hidden_marks` that end with `*` are prefixes.
    """

    host: str
    port: int = _PORT
    mechanism: str = XOAUTH2
    hidden_marks: frozenset[str] = field(default=frozenset())


# Source: sessions of 2025 with Yandex's server.
YANDEX_MARKS: Final = frozenset({"encrypted", "system_*"})


def read_servers(path: Path) -> Mapping[str, MailServer]:
    """Return the servers of a file by provider. Raises ValueError with a line that names a field, never its value.

    Auth checks the rest of the file.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__})") from error
    return {name: _server(name, table) for name, table in tables.items()}


def _server(name: str, table: object) -> MailServer:
    given = table.get("imap") if isinstance(table, dict) else None
    if not isinstance(given, dict):
        raise ValueError(f"{name}.imap: is missing")
    host, port, mechanism = given.get("host"), given.get("port", _PORT), given.get("mechanism", XOAUTH2)
    if not isinstance(host, str) or not host:
        raise ValueError(f"{name}.imap.host: is missing")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= 65_535:
        raise ValueError(f"{name}.imap.port: is no port")
    if mechanism not in _MECHANISMS:
        raise ValueError(f"{name}.imap.mechanism: is not one of {', '.join(sorted(_MECHANISMS))}")
    return MailServer(host=host, port=port, mechanism=mechanism)


def trusting(authority: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities, and those of a PEM file. Raises OSError."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    return context


def imap_limits(provider: str, *, login_window: float = LOGIN_WINDOW) -> ProviderLimits:
    """Return the limits of a provider's server; `login_window` is in seconds."""
    return ProviderLimits(
        buckets=(
            Bucket(name=f"{provider}_calls", per=Per.MAILBOX, limit=_UNITS, window=60),
            Bucket(
                name=f"{provider}_logins",
                per=Per.MAILBOX,
                limit=_LOGINS,
                window=login_window,
                counts=LOGINS,
                live_share=_FOR_WORKERS,
            ),
            Bucket(
                name=f"{provider}_refused_logins",
                per=Per.MAILBOX,
                limit=_LOGINS,
                window=_LONG_WINDOWS * login_window,
                counts=REFUSALS,
            ),
            Bucket(name=f"{provider}_connections", per=Per.MAILBOX, limit=_BESIDE, window=1, counts=CONNECTIONS),
        ),
        costs=COSTS,
        concurrency=_BATCH,
        batch_units=_BATCH * COSTS.fetch,
        longest_call=_LONGEST_CALL,
    )
