"""Reading single fields of Gmail's answers, whose types stand-ins do not always keep to."""

from collections.abc import Mapping
from typing import Any

from services.mail.content.text.clean import clean_text

SYSTEM_LABELS = (
    *("INBOX", "SPAM", "TRASH", "UNREAD", "STARRED", "IMPORTANT", "SENT", "DRAFT", "CHAT"),
    *(f"CATEGORY_{name}" for name in ("PERSONAL", "SOCIAL", "PROMOTIONS", "UPDATES", "FORUMS")),
)


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


def next_page(answer: Mapping[str, Any]) -> str | None:
    """What asks for the next page of a listing; None on the last one."""
    token = answer.get("nextPageToken")
    return str(token) if token else None
