"""Headers that a provider adds to mail when it is sent."""

import re
from collections.abc import Collection
from email.utils import formataddr, parseaddr

from services.sandbox.mime.part_tree import parse_message

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_FROM = re.compile(rb"^from[ \t]*:.*\n(?:[ \t].*\n)*", re.IGNORECASE | re.MULTILINE)


def complete_headers(raw: bytes, *, name: str, addresses: Collection[str], date: str, message_id: str) -> bytes:
    """Return the message with the headers From, Date and Message-ID.

    `name` and the first of `addresses` are the user's; From is replaced unless it has one of the addresses.
    """
    tree = parse_message(raw)
    own = {address.lower() for address in addresses}
    keeps_from = parseaddr(tree.header("From") or "")[1].lower() in own
    sender = formataddr((name, next(iter(addresses))))
    added = {
        "Date": None if tree.header("Date") else date,
        "From": None if keeps_from else sender,
        "Message-ID": None if tree.header("Message-ID") else message_id,
    }
    lines = "".join(f"{field}: {value}\r\n" for field, value in added.items() if value is not None)
    return lines.encode() + (raw if keeps_from else _without_from(raw))


def _without_from(raw: bytes) -> bytes:
    blank = _BLANK_LINE.search(raw)
    end = blank.start() + 1 if blank else len(raw)
    return _FROM.sub(b"", raw[:end]) + raw[end:]
