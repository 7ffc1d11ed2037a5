"""The Date header of a message."""

from datetime import UTC
from email.utils import parsedate_to_datetime

from services.sandbox.mime.part_tree import parse_message

_HEAD_BYTES = 100_000


def date_header_ms(raw: bytes) -> int | None:
    """Return the Date header as epoch ms; None if it is absent or unreadable. A date without zone counts as UTC."""
    value = parse_message(raw[:_HEAD_BYTES]).header("Date")
    try:
        moment = parsedate_to_datetime(value or "")
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
