"""What servers look like: greeting, capabilities, names of folders, and words of refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BASIC: Final = frozenset({"IDLE", "MOVE", "UIDPLUS", "UNSELECT", "NAMESPACE", "ID", "ENABLE"})


@dataclass(frozen=True, slots=True)
class Profile:
    """The look of a server.

    `before_login` and `after_login` are the advertised capabilities; commands of extensions that are not in
    `after_login` are refused. `greeting` and `refusal` take `host`, `peer`, `time` and `session`, the latter also
    `command`. With `challenges` a refused token is explained in a challenge first (RFC 7628).
    """

    name: str
    greeting: str
    before_login: tuple[str, ...]
    after_login: tuple[str, ...]
    mechanisms: frozenset[str]
    separator: str
    folder_names: Mapping[str, str]
    roles: Mapping[str, str]
    refusal: str
    challenges: bool
    flags: tuple[str, ...] = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
    # Whether LIST tells roles without being asked (RFC 6154 allows it).
    tells_roles: bool = True
    # Whether SEARCH finds messages by their headers.
    searches_headers: bool = True
    # Commands that end the connection.
    deadly: frozenset[str] = field(default=frozenset())

    def has(self, extension: str) -> bool:
        """Return whether the extension is advertised after login."""
        return extension in self.after_login


_YANDEX_CAPABILITIES = (
    *("IMAP4rev1", "CHILDREN", "UNSELECT", "LITERAL+", "NAMESPACE", "XLIST", "UIDPLUS", "ENABLE", "ID"),
    *("IDLE", "MOVE"),
)
# Source: sessions of 2025 and 2026 with imap.yandex.com.
YANDEX: Final = Profile(
    name="yandex",
    greeting="* OK Yandex IMAP4rev1 at {host} ready to talk with {peer}, {time}, {session}",
    before_login=(*_YANDEX_CAPABILITIES[:9], "AUTH=PLAIN", "AUTH=XOAUTH2", *_YANDEX_CAPABILITIES[9:]),
    after_login=_YANDEX_CAPABILITIES,
    mechanisms=frozenset({"XOAUTH2"}),
    separator="|",
    folder_names={
        "SENT": "Отправленные",
        "DRAFT": "Черновики",
        "SPAM": "Спам",
        "TRASH": "Удаленные",
        "ARCHIVE": "Архив",
    },
    roles={"SENT": "\\Sent", "DRAFT": "\\Drafts", "SPAM": "\\Junk", "TRASH": "\\Trash"},
    refusal="[AUTHENTICATIONFAILED] {command} invalid credentials or IMAP is disabled sc={session}",
    challenges=False,
    flags=("\\Answered", "\\Seen", "\\Draft", "\\Deleted", "$Forwarded"),
    searches_headers=False,
    deadly=frozenset({"XLIST"}),
)

_MODERN_CAPABILITIES = (
    *("IMAP4rev1", "SASL-IR", "LITERAL+", "ID", "ENABLE", "IDLE", "NAMESPACE", "CHILDREN", "UNSELECT", "UIDPLUS"),
    *("MOVE", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "ESEARCH", "CONDSTORE", "QRESYNC", "OBJECTID"),
)
MODERN: Final = Profile(
    name="modern",
    greeting="* OK [CAPABILITY {capabilities}] IMAP server ready",
    before_login=(*_MODERN_CAPABILITIES, "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"),
    after_login=_MODERN_CAPABILITIES,
    mechanisms=frozenset({"XOAUTH2", "OAUTHBEARER"}),
    separator="/",
    folder_names={"SENT": "Sent", "DRAFT": "Drafts", "SPAM": "Junk", "TRASH": "Trash", "ARCHIVE": "Archive"},
    roles={
        "SENT": "\\Sent",
        "DRAFT": "\\Drafts",
        "SPAM": "\\Junk",
        "TRASH": "\\Trash",
        "ARCHIVE": "\\Archive",
    },
    refusal="[AUTHENTICATIONFAILED] Authentication failed.",
    challenges=True,
)
PROFILES: Final = {profile.name: profile for profile in (YANDEX, MODERN)}
