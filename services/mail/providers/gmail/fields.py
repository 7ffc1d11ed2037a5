"""Reading single fields of Gmail's answers, whose types stand-ins do not always keep to."""

from collections.abc import Mapping
from typing import Any

from services.mail.content.text.clean import clean_text
from services.mail.model import Label
from services.mail.providers.base import ProviderUnavailableError

# Those of every mailbox.
SYSTEM_LABELS = tuple(
    Label(label_id=id_, name=id_, type="system")
    for id_ in (
        *("INBOX", "SPAM", "TRASH", "UNREAD", "STARRED", "IMPORTANT", "SENT", "DRAFT", "CHAT"),
        *(f"CATEGORY_{name}" for name in ("PERSONAL", "SOCIAL", "PROMOTIONS", "UPDATES", "FORUMS")),
    )
)


# What a listing holds beside its array.
_OF_A_LISTING = frozenset({"nextPageToken", "resultSizeEstimate", "historyId"})


def text(value: Any) -> str | None:
    """A string that says something, fit to be stored; stand-ins also number their messages."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return clean_text(value) or None if isinstance(value, str) else None


def number(value: Any) -> int | None:
    """An integer: uint64 and int64 come as strings by the discovery document, and go beyond 64 bits elsewhere."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of an array; Google omits empty arrays, others send them or null."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def entries(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Read the objects of a listing's array, which may be omitted, empty or null.

    Raises ProviderUnavailableError for anything else: nothing must pass for a shorter listing.
    """
    value = answer.get(name)
    if value is None:
        if answer and name not in answer and not answer.keys() & _OF_A_LISTING:
            raise ProviderUnavailableError(f"the answer is no listing of `{name}`")
        return []
    found = objects(value)
    if not isinstance(value, list) or len(found) < len(value):
        raise ProviderUnavailableError(f"`{name}` is no list of objects")
    return found


def entry_id(entry: Mapping[str, Any]) -> str:
    """Read the id of a listing's entry. Raises ProviderUnavailableError if it has none."""
    id_ = text(entry.get("id"))
    if id_ is None:
        raise ProviderUnavailableError("an entry without an id")
    return id_


def next_page(answer: Mapping[str, Any]) -> str | None:
    """Read the token of the next page; None on the last one. Raises ProviderUnavailableError for another type."""
    token = answer.get("nextPageToken")
    if not token:
        return None
    if token is True or not isinstance(token, str | int):
        raise ProviderUnavailableError("the page token is not a string")
    return str(token)
