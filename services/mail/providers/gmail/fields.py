"""Fields of Gmail's answers, read with tolerance for the types that stand-ins send."""

from collections.abc import Mapping
from typing import Any

from services.mail.content.text.clean import clean_text
from services.mail.providers.errors import ProviderUnavailableError

# Fields of a listing other than its array.
_OF_A_LISTING = frozenset({"nextPageToken", "resultSizeEstimate", "historyId"})


def text(value: Any) -> str | None:
    """Return a non-empty string that can be stored; numbers become strings, as stand-ins use them for ids."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return clean_text(value) or None if isinstance(value, str) else None


def number(value: Any) -> int | None:
    """Return an integer. uint64 and int64 arrive as strings (discovery document), and can exceed 64 bits elsewhere."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of an array. Google omits empty arrays; stand-ins send them or null."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def entries(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a listing's array, which may be omitted, empty or null.

    Raises ProviderUnavailableError for anything else, so that a malformed listing is not taken for a shorter one.
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
    """Return the id of a listing's entry. Raises ProviderUnavailableError if it has none."""
    id_ = text(entry.get("id"))
    if id_ is None:
        raise ProviderUnavailableError("an entry without an id")
    return id_


def next_page(answer: Mapping[str, Any]) -> str | None:
    """Return the token of the next page; None on the last one. Raises ProviderUnavailableError for another type."""
    token = answer.get("nextPageToken")
    if not token:
        return None
    if token is True or not isinstance(token, str | int):
        raise ProviderUnavailableError("the page token is not a string")
    return str(token)
