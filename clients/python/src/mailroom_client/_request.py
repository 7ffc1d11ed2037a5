"""A call before it is sent: the same for the sync and the async client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from urllib.parse import quote
from uuid import UUID

# A value as it is sent, and as callers give it.
type Sent = str | int | bool | list[str] | None
type Value = str | int | bool | UUID | date | None
type Scalar = str | int | bool | None
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
