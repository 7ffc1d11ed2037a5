"""The searchable form of a message: the text form of a Postgres tsvector.

A lexeme is the mailbox, the field and a term: `2b.s/invoice` in the subject of mailbox 83, `2b/invoice` anywhere in it,
`2b.f/@example.com@ada` the address of its sender. With the mailbox in it, an index lookup never meets the mail of
others, however common a word is there.
Source: https://www.postgresql.org/docs/current/textsearch-limitations.html
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache

from services.mail.content.model import Address, Attachment, ParsedMessage
from services.mail.content.text.indexable import indexable
from services.mail.search.addresses import address_key
from services.mail.search.neighbours import pairs_of
from services.mail.search.terms import terms_of

LAST_PLACE = 16_000
"""Terms after it are found, but not as parts of phrases: Postgres gives all places after its limit the same number."""

ADDRESS_BYTES, NAMED_BYTES, BODY_BYTES, ATTACHED_BYTES = 150_000, 250_000, 450_000, 150_000
"""Bytes of the tsvector for the addresses of a message; its subject, names and file names; its body; attached messages.

Postgres refuses a tsvector of more than 2^20 bytes.
"""

LEXEME_BYTES = ADDRESS_BYTES + NAMED_BYTES + BODY_BYTES + ATTACHED_BYTES + 20_000
"""Bytes that the lexemes and places of a message take at most in its tsvector."""

NAMED_CHARACTERS = 100_000
"""Characters of the names and addresses of a message that are read, so that a header of any size costs little."""

_BEHIND = 16_383
_MOST_PLACES = 255
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Field(Enum):
    """A part of a message that has an operator; its value marks the lexemes."""

    SUBJECT = ".s"
    FROM = ".f"
    TO = ".t"
    CC = ".c"
    BCC = ".b"
    FILENAME = ".n"


PEOPLE = (Field.FROM, Field.TO, Field.CC, Field.BCC)


def vector_of(message: ParsedMessage, *, mailbox_id: int) -> str:
    """Return the tsvector of a message."""
    shares = (
        (NAMED_BYTES, _named_texts(message)),
        (BODY_BYTES, [(None, message.text or "")]),
        (ATTACHED_BYTES, _attached_texts(message)),
    )
    words: list[str] = []
    pairs: set[int] = set()
    start = 1
    for most, texts in shares:
        entries: list[str] = []
        for field, text in texts:
            terms = terms_of(indexable(text))
            pairs |= pairs_of(terms)
            entries += _entries(prefix_of(mailbox_id, None), terms, start)
            if field is not None:
                entries += _entries(prefix_of(mailbox_id, field), terms, start)
            # A free place between two texts keeps phrases within one.
            start += len(terms) + 1
        words.append(_within(most, entries))
    addresses = ((lexeme, len(lexeme.encode())) for lexeme in _addresses(message, mailbox_id))
    facts = (*_facts(message, mailbox_id), *pair_lexemes(mailbox_id, pairs), *_first(ADDRESS_BYTES, addresses))
    return " ".join((*facts, *words))


@lru_cache(1024)
def prefix_of(mailbox_id: int, field: Field | None) -> str:
    """Return the beginning of all lexemes of a mailbox and field; None is any field."""
    return f"{_digits(mailbox_id)}{field.value if field else ''}/"


def message_id_lexeme(mailbox_id: int, message_id: str) -> str:
    """Return the lexeme for the Message-ID header (RFC 5322), which may hold any character: a hash of it."""
    digest = hashlib.blake2b(message_id.strip().strip("<>").encode(), digest_size=12).hexdigest()
    return f"{_digits(mailbox_id)}.i/{digest}"


def attachment_lexeme(mailbox_id: int) -> str:
    """Return the lexeme of messages that have attachments."""
    return f"{_digits(mailbox_id)}.h/attachment"


def pair_lexemes(mailbox_id: int, pairs: Iterable[int]) -> list[str]:
    """Return the lexemes of messages with these pairs of short words (see neighbours.py)."""
    prefix = f"{_digits(mailbox_id)}.p/"
    return [f"{prefix}{pair:x}" for pair in pairs]


def address_lexeme(mailbox_id: int, field: Field, key: str) -> str:
    """Return the lexeme for a key of `address_key` or for the beginning of one.

    It is quoted, since an address may hold any character; no term holds the @ before it.
    """
    escaped = key.replace("\\", "\\\\").replace("'", "''")
    return f"'{prefix_of(mailbox_id, field)}@{escaped}'"


def _named_texts(message: ParsedMessage) -> Iterator[tuple[Field, str]]:
    yield Field.SUBJECT, message.subject or ""
    for attachment in _with_attached(message.attachments):
        yield Field.FILENAME, attachment.filename
    for field, address in _people(message):
        yield field, f"{address.name} {address.email}"


def _attached_texts(message: ParsedMessage) -> Iterator[tuple[None, str]]:
    """Yield the texts of attached messages, in no field: they are not about the message itself."""
    for attachment in _with_attached(message.attachments):
        attached = attachment.message
        if attached is not None:
            yield None, attached.subject or ""
            for address in (*filter(None, [attached.from_]), *attached.to, *attached.cc):
                yield None, f"{address.name} {address.email}"
            yield None, attached.text or ""


def _with_attached(attachments: Iterable[Attachment]) -> Iterator[Attachment]:
    """Yield the attachments; an attached message comes before its own."""
    for attachment in attachments:
        yield attachment
        if attachment.message is not None:
            yield from _with_attached(attachment.message.attachments)


def _facts(message: ParsedMessage, mailbox_id: int) -> Iterator[str]:
    if message.message_id:
        yield message_id_lexeme(mailbox_id, message.message_id)
    if message.has_attachments:
        yield attachment_lexeme(mailbox_id)


def _addresses(message: ParsedMessage, mailbox_id: int) -> Iterator[str]:
    for field, address in _people(message):
        if "@" in address.email:
            yield address_lexeme(mailbox_id, field, address_key(address.email))


def _people(message: ParsedMessage) -> Iterator[tuple[Field, Address]]:
    left = NAMED_CHARACTERS
    for field, addresses in zip(PEOPLE, (message.authors, message.to, message.cc, message.bcc), strict=True):
        for address in addresses:
            left -= len(address.name) + len(address.email)
            if left < 0:
                return
            yield field, address


def _within(most: int, entries: Sequence[str]) -> str:
    """Return the entries, or those of the first lexemes that take at most so many bytes of a tsvector."""
    joined = " ".join(entries)
    # Nearly always. Except for the first few places, an entry takes no more bytes in a tsvector than as text.
    if (len(joined) if joined.isascii() else 4 * len(joined)) <= most:
        return joined
    places: dict[str, list[str]] = {}
    for entry in entries:
        lexeme, _, place = entry.rpartition(":")
        places.setdefault(lexeme, []).append(place)
    kept = ((lexeme, at[:_MOST_PLACES]) for lexeme, at in places.items())
    # The lexeme, one byte to align it, two for the count and two for each place.
    sized = ((f"{lexeme}:{','.join(at)}", len(lexeme.encode()) + 3 + 2 * len(at)) for lexeme, at in kept)
    return " ".join(_first(most, sized))


def _first(most: int, sized: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield the first entries that take at most so many bytes together."""
    for entry, size in sized:
        most -= size
        if most < 0:
            return
        yield entry


def _digits(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _entries(prefix: str, terms: list[str], start: int) -> list[str]:
    if start + len(terms) <= LAST_PLACE:
        return [f"{prefix}{term}:{place}" for place, term in enumerate(terms, start)]
    places = (place if place <= LAST_PLACE else _BEHIND for place in range(start, start + len(terms)))
    return [f"{prefix}{term}:{place}" for place, term in zip(places, terms, strict=True)]
