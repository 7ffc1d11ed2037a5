"""A call of a Gmail API method, and access to its parameters."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.errors import CallRefusedError, GoogleError, invalid_argument
from services.sandbox.google.gmail.page_tokens import PageTokens
from services.sandbox.google.gmail.resources import Renderer
from services.sandbox.mailboxes.mailbox import Mailbox
from services.sandbox.mailboxes.user import User

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
    """Parse a query string into lists of values; cheaper than the standard library for the usual short ones."""
    params: Params = {}
    for pair in text.split("&") if text else ():
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = unquote_plus(name), unquote_plus(value)
        params.setdefault(name, []).append(value)
    return params


@dataclass(slots=True)
class GmailCall:
    """One call after authorization and quota."""

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
    clock: Clock

    def one(self, name: str) -> str | None:
        """Return the last value of a parameter, or None."""
        values = self.params.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """Return all values of a repeatable parameter."""
        return self.params.get(name, [])

    def flag(self, name: str) -> bool:
        """Return a boolean parameter, false if absent."""
        return (self.one(name) or "").lower() in _TRUE

    def max_results(self, default: int = 100, limit: int = 500) -> int:
        """Return `maxResults`, clamped. Raises CallRefusedError (400) if it is no number."""
        text = self.one("maxResults")
        if text is None:
            return default
        if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 11:
            raise CallRefusedError(invalid_argument(f"Invalid value at 'max_results' (TYPE_UINT32), \"{text[:40]}\""))
        if int(text) < 0:
            raise CallRefusedError(invalid_argument(f"Invalid value at 'max_results' (TYPE_UINT32), \"{text}\""))
        return min(int(text), limit) or default

    def choice(self, name: str, default: str, allowed: frozenset[str]) -> str:
        """Return an enumeration parameter. Raises CallRefusedError (400) for a value outside of `allowed`."""
        value = self.one(name)
        if value is None:
            return default
        if value.lower() not in allowed:
            raise CallRefusedError(invalid_argument(f"Invalid value at '{name}', \"{value[:60]}\""))
        return value.lower()

    def json(self) -> dict[str, Any]:
        """Parse the body as a JSON object. Raises CallRefusedError (400) if it is none."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            raise CallRefusedError(GoogleError(400, "parseError", "Invalid JSON payload received.")) from None
        if not isinstance(value, dict):
            raise CallRefusedError(GoogleError(400, "parseError", "Invalid JSON payload received. Expected an object."))
        return value

    def strings(self, body: dict[str, Any], name: str, *, limit: int) -> list[str]:
        """Return a list of strings in the body. Raises CallRefusedError (400) for other types or too many."""
        value = body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise CallRefusedError(invalid_argument(f"Invalid value at '{name}'"))
        if len(value) > limit:
            raise CallRefusedError(invalid_argument(f"Too many values in '{name}': {len(value)}, limit {limit}"))
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
    """The method's internal name at Google, which error details show."""
