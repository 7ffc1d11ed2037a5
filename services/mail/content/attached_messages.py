"""Descriptions of attached messages, so that they can be shown and found without being fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.mail.content import limits
from services.mail.content.headers.addresses import collect_addresses, parse_addresses
from services.mail.content.headers.dates import parse_date
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.mime.tree import Part
from services.mail.content.model import Address, AttachedMessage, Attachment
from services.mail.content.text.clean import clean_line, cut_utf8

_DIGEST_HEADERS = ("From", "To", "Date", "Subject")


@dataclass(slots=True)
class Room:
    """The bytes of text that the descriptions of attached messages may still take, all together."""

    left: int = limits.ATTACHED_BYTES

    def take_text(self, text: str) -> str:
        """Take as much of a text as fits."""
        kept, _ = cut_utf8(text, min(limits.ATTACHED_TEXT_BYTES, self.left))
        self.left -= len(kept.encode())
        return kept

    def take_addresses(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """Take as many addresses as fit."""
        taken = []
        for address in addresses:
            size = len(address.name.encode()) + len(address.email.encode())
            if size > self.left:
                self.left = 0
                break
            self.left -= size
            taken.append(address)
        return tuple(taken)


def describe_message(root: Part, text: str | None, attachments: Sequence[Attachment], room: Room) -> AttachedMessage:
    """Describe the message with this root part."""
    fields = root.fields
    senders = room.take_addresses(parse_addresses(fields.get("from", "")))
    subject = clean_line(decode_words(fields["subject"])) if "subject" in fields else None
    return AttachedMessage(
        subject=None if subject is None else room.take_text(subject),
        from_=senders[0] if senders else None,
        to=room.take_addresses(collect_addresses(root.headers, "to")),
        cc=room.take_addresses(collect_addresses(root.headers, "cc")),
        sent_at=parse_date(fields["date"]) if "date" in fields else None,
        text=None if text is None else room.take_text(text),
        attachments=tuple(attachments),
    )


def summarise_headers(fields: Mapping[str, str]) -> str:
    """Write the lines above a message of a digest: its author, recipients, date and subject."""
    lines = [(name, clean_line(decode_words(fields.get(name.lower(), "")))) for name in _DIGEST_HEADERS]
    return "".join(f"{name}: {value}\n" for name, value in lines if value)
