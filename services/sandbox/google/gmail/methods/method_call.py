"""What a method of the Gmail API is told about its call, and how it reads the parameters."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from services.sandbox.google.gmail.errors import GoogleError, Refused, invalid_argument
from services.sandbox.google.gmail.page_tokens import PageTokens
from services.sandbox.google.gmail.resources import Renderer
from services.sandbox.google.oauth.users import User
from services.sandbox.instruments.audit_log import Now
from services.sandbox.mailboxes.mailbox import Mailbox

Params = dict[str, list[str]]
COMMON_PARAMS = frozenset(
    {
        "alt",
        "fields",
        "key",
        "access_token",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "callback",
        "$.xgafv",
        "uploadType",
        "upload_protocol",
    }
)
_TRUE = frozenset({"true", "1"})


def parse_query(text: str) -> Params:
    """A query string as lists of values; cheaper than the standard library's for the usual short ones."""
    params: Params = {}
    for pair in text.split("&") if text else ():
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = unquote_plus(name), unquote_plus(value)
        params.setdefault(name, []).append(value)
    return params


@dataclass(slots=True)
class GmailCall:
    """One call, authorized and paid for."""

    user: User
    mailbox: Mailbox
    path: tuple[str, ...]
    """The variable segments of the path, decoded."""
    params: Params
    body: bytes
    content_type: str
    reads_bodies: bool
    """False for a token whose only reading scope is gmail.metadata."""
    renderer: Renderer
    pages: PageTokens
    clock: Now

    def one(self, name: str) -> str | None:
        """The last value of a parameter."""
        values = self.params.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """All values of a repeatable parameter."""
        return self.params.get(name, [])

    def flag(self, name: str) -> bool:
        """A boolean parameter, false if absent."""
        return (self.one(name) or "").lower() in _TRUE

    def max_results(self, default: int = 100, most: int = 500) -> int:
        """`maxResults`, clamped; Refused (400) if it is no number."""
        text = self.one("maxResults")
        if text is None:
            return default
        if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 11:
            raise Refused(invalid_argument(f"Invalid value at 'max_results' (TYPE_UINT32), \"{text[:40]}\""))
        if int(text) < 0:
            raise Refused(invalid_argument(f"Invalid value at 'max_results' (TYPE_UINT32), \"{text}\""))
        return min(int(text), most) or default

    def choice(self, name: str, default: str, allowed: frozenset[str]) -> str:
        """An enumeration parameter; Refused (400) for a value that it does not have."""
        value = self.one(name)
        if value is None:
            return default
        if value.lower() not in allowed:
            raise Refused(invalid_argument(f"Invalid value at '{name}', \"{value[:60]}\""))
        return value.lower()

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; Refused (400) if it is none."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            raise Refused(GoogleError(400, "parseError", "Invalid JSON payload received.")) from None
        if not isinstance(value, dict):
            raise Refused(GoogleError(400, "parseError", "Invalid JSON payload received. Expected an object."))
        return value

    def strings(self, body: dict[str, Any], name: str, *, most: int) -> list[str]:
        """A list of strings in the body; Refused (400) if it is something else or too long."""
        value = body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Refused(invalid_argument(f"Invalid value at '{name}'"))
        if len(value) > most:
            raise Refused(invalid_argument(f"Too many values in '{name}': {len(value)}, limit {most}"))
        return value


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API. `path` has `{}` for variable segments, below `/gmail/v1/users/{userId}`."""

    name: str
    verb: str
    path: str
    run: Callable[[GmailCall], bytes | None]
    scopes: frozenset[str]
    response: str | None
    params: frozenset[str] = frozenset()
    rpc: str = ""
    """The method's name inside Google, as error details show it."""
