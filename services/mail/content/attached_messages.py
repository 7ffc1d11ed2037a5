"""Attached messages as the model describes them: so that they can be shown and found without being fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.mail.content import limits
from services.mail.content.headers.addresses import parse_addresses
from services.mail.content.headers.dates import parse_date
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.model import Address, AttachedMessage, Attachment
from services.mail.content.text.clean import clean_line, cut_utf8

_DIGEST_HEADERS = ("From", "To", "Date", "Subject")


@dataclass(slots=True)
class Room:
    """How many bytes of text the descriptions of attached messages may still take, all together."""

    left: int = limits.ATTACHED_BYTES

    def take(self, text: str, *, limit: int) -> str:
        """As much of the text as there is room for, at most `limit` bytes."""
        kept, _ = cut_utf8(text, min(limit, self.left))
        self.left -= len(kept.encode())
        return kept


def describe_message(
    fields: Mapping[str, str], text: str | None, attachments: Sequence[Attachment], room: Room
) -> AttachedMessage:
    """The description of a message with these header fields, names in lower case."""
    senders = _take_addresses(fields.get("from", ""), room)
    subject = clean_line(decode_words(fields["subject"])) if "subject" in fields else None
    return AttachedMessage(
        subject=None if subject is None else room.take(subject, limit=limits.ATTACHED_TEXT_BYTES),
        from_=senders[0] if senders else None,
        to=_take_addresses(fields.get("to", ""), room),
        cc=_take_addresses(fields.get("cc", ""), room),
        sent_at=parse_date(fields["date"]) if "date" in fields else None,
        text=None if text is None else room.take(text, limit=limits.ATTACHED_TEXT_BYTES),
        attachments=tuple(attachments),
    )


def summarise_headers(fields: Mapping[str, str]) -> str:
    """The lines above a message of a digest: its author, recipients, date and subject."""
    lines = [(name, clean_line(decode_words(fields.get(name.lower(), "")))) for name in _DIGEST_HEADERS]
    return "".join(f"{name}: {value}\n" for name, value in lines if value)


def _take_addresses(value: str, room: Room) -> tuple[Address, ...]:
    """The addresses of a header field, as many as there is room for."""
    taken = []
    for address in parse_addresses(value):
        room.left -= len(address.name.encode()) + len(address.email.encode())
        if room.left < 0:
            break
        taken.append(address)
    room.left = max(0, room.left)
    return tuple(taken)
