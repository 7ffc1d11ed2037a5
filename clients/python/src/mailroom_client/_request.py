"""A call before it is sent: the same for the sync and the async client."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final
from urllib.parse import quote
from uuid import UUID

import httpx

from mailroom_client.errors import MailroomError

# A value as it is sent, and as callers give it.
type Sent = str | int | bool | list[str] | None
type Value = str | int | bool | UUID | date | None
type Scalar = str | int | bool | None
# What a header can bear (RFC 6750 section 2.1): JWTs and API keys are such.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
# A mailbox by its id or by its address.
type MailboxName = UUID | str


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `repeatable` says that sending it twice does no more than sending it once."""

    method: str
    path: str
    params: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    body: Mapping[str, Sent] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = True
    # Seconds for which the server may hold the answer (`Prefer: wait`).
    wait: int | None = None
    authorized: bool = True

    def all_headers(self) -> dict[str, str]:
        """Return the headers with the preference."""
        return {**self.headers, **({} if self.wait is None else {"Prefer": f"wait={self.wait}"})}


def base_of(url: str) -> str:
    """Return the address of a server, to which paths are added. Raises MailroomError."""
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise MailroomError(f"{url} is no URL: {error}") from error
    return url.rstrip("/")


def token_of(text: str) -> str:
    """Return a token. Raises MailroomError, which does not quote it, where it can be none."""
    if not _TOKEN.fullmatch(text):
        raise MailroomError("the token has a character that no token has, such as a line break at its end")
    return text


def path_of(template: str, *ids: str | UUID) -> str:
    """Return a path with ids in the places of `{}`, quoted so that none can name another resource."""
    return template.format(*(quote(str(part), safe="") for part in ids))


def parameters(**values: Value) -> dict[str, Scalar]:
    """Return the values that are given, ids and times as text. Raises ValueError for a time without a zone."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def naming(mailbox: MailboxName | None) -> dict[str, Scalar]:
    """Return the parameter that names a mailbox: what has an @ is an address."""
    if mailbox is None:
        return {}
    name = str(mailbox)
    return {"email" if "@" in name else "mailbox_id": name}


def _text(value: Value) -> Scalar:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.isoformat()
    return str(value) if isinstance(value, UUID | date) else value
