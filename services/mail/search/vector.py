"""What of a message can be found, as the text form of a Postgres tsvector.

A lexeme is the mailbox, the field and a term: `2b.s/invoice` in the subject of mailbox 83, `2b/invoice` anywhere in it.
With the mailbox in it, an index lookup never meets the mail of others, however common a word is there.
Source: https://www.postgresql.org/docs/current/textsearch-limitations.html
"""

import hashlib
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache

from services.mail.content.model import Address, ParsedMessage
from services.mail.content.text.indexable import indexable
from services.mail.search.terms import terms_of

LAST_PLACE = 16_000
"""Terms behind it are found, but not as parts of phrases. Postgres puts all behind its own limit into one place."""

MOST_LEXEMES = 40_000
"""What a message has more of is not found. Keeps a tsvector below Postgres's 1 MB."""

_BEHIND = 16_383
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Field(Enum):
    """A part of a message in which an operator of its own looks; its value is what marks the lexemes."""

    SUBJECT = ".s"
    FROM = ".f"
    TO = ".t"
    CC = ".c"
    BCC = ".b"
    FILENAME = ".n"


def vector_of(message: ParsedMessage, *, mailbox_id: int) -> str:
    """The tsvector of a message."""
    entries = [message_id_lexeme(mailbox_id, message.message_id)] if message.message_id else []
    if message.has_attachments:
        entries.append(attachment_lexeme(mailbox_id))
    start = 1
    for field, text in texts_of(message):
        terms = terms_of(indexable(text))
        entries += _entries(prefix_of(mailbox_id, None), terms, start)
        if field is not None:
            entries += _entries(prefix_of(mailbox_id, field), terms, start)
        # One place is left free, so that no phrase spans two texts.
        start += len(terms) + 1
    return " ".join(entries[:MOST_LEXEMES])


def texts_of(message: ParsedMessage) -> Iterator[tuple[Field | None, str]]:
    """The texts in which words are found, each with its field; None for the body."""
    yield Field.SUBJECT, message.subject or ""
    for field, addresses in (
        (Field.FROM, message.authors),
        (Field.TO, message.to),
        (Field.CC, message.cc),
        (Field.BCC, message.bcc),
    ):
        for address in addresses:
            yield field, _text(address)
    for attachment in message.attachments:
        yield Field.FILENAME, attachment.filename
    yield None, message.text or ""


@lru_cache(1024)
def prefix_of(mailbox_id: int, field: Field | None) -> str:
    """What all lexemes of a mailbox and field begin with; None: of the mailbox, wherever they are."""
    return f"{_digits(mailbox_id)}{field.value if field else ''}/"


def message_id_lexeme(mailbox_id: int, message_id: str) -> str:
    """The lexeme for the Message-ID header (RFC 5322), which may hold any character: a hash of it."""
    digest = hashlib.blake2b(message_id.strip().strip("<>").encode(), digest_size=12).hexdigest()
    return f"{_digits(mailbox_id)}.i/{digest}"


def attachment_lexeme(mailbox_id: int) -> str:
    """The lexeme of messages that have attachments."""
    return f"{_digits(mailbox_id)}.h/attachment"


def _digits(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _text(address: Address) -> str:
    return f"{address.name} {address.email}"


def _entries(prefix: str, terms: list[str], start: int) -> list[str]:
    if start + len(terms) <= LAST_PLACE:
        return [f"{prefix}{term}:{place}" for place, term in enumerate(terms, start)]
    places = (place if place <= LAST_PLACE else _BEHIND for place in range(start, start + len(terms)))
    return [f"{prefix}{term}:{place}" for place, term in zip(places, terms, strict=True)]
