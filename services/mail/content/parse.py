"""From a part tree to one `ParsedMessage`. Pure and total: no I/O, and no input makes these functions fail."""

import re

from services.mail.content.body import read_body
from services.mail.content.headers.addresses import collect_addresses, parse_addresses
from services.mail.content.headers.dates import parse_date
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.mime.raw import read_raw
from services.mail.content.mime.tree import Part, Tree
from services.mail.content.model import Address, ParsedMessage
from services.mail.content.text.clean import clean_line, clean_text

_BRACKETED_ID = re.compile(r"<([^<>]*)>")


def parse_raw(data: bytes) -> ParsedMessage:
    """Parse the RFC 5322 bytes of one message."""
    return build_message(read_raw(data))


def build_message(tree: Tree) -> ParsedMessage:
    """Build the message from a part tree, whether its source was RFC 5322 bytes or a provider's own structure."""
    fields = tree.root.fields
    body = read_body(tree.root)
    authors = parse_addresses(fields.get("from", ""))
    return ParsedMessage(
        headers=tuple([_clean_header(name, value) for name, value in tree.root.headers]),
        from_=authors[0] if authors else None,
        authors=authors,
        to=_collect(tree.root, "to"),
        cc=_collect(tree.root, "cc"),
        bcc=_collect(tree.root, "bcc"),
        reply_to=_collect(tree.root, "reply-to"),
        subject=clean_line(decode_words(fields["subject"])) if "subject" in fields else None,
        sent_at=parse_date(fields["date"]) if "date" in fields else None,
        message_id=_read_message_id(fields.get("message-id", "")),
        in_reply_to=next(iter(_read_ids(fields.get("in-reply-to", ""))), None),
        references=_read_ids(fields.get("references", "")),
        text=body.text,
        html=body.html,
        text_from_html=body.text_from_html,
        attachments=tuple(body.attachments),
        calendar=tuple(body.calendar),
        encrypted=body.encrypted,
        truncated=tree.truncated or body.truncated,
        defects=(*tree.defects, *body.defects),
        missing_parts=tuple(body.missing),
    )


def _clean_header(name: str, value: str) -> tuple[str, str]:
    # Nearly all are plain.
    if value.isascii() and name.isascii() and "=?" not in value and "\0" not in value and "\0" not in name:
        return name, value.strip()
    return clean_text(name), clean_text(decode_words(value)).strip()


def _collect(root: Part, name: str) -> tuple[Address, ...]:
    return collect_addresses(root.headers, name) if name in root.fields else ()


def _read_message_id(value: str) -> str | None:
    bracketed = _BRACKETED_ID.search(value)
    found = bracketed.group(1) if bracketed else value.strip("<>")
    return clean_text("".join(found.split())) or None


def _read_ids(value: str) -> tuple[str, ...]:
    """Read the message ids of In-Reply-To and References: in brackets, or bare words with an @, without prose."""
    found = _BRACKETED_ID.findall(value) or [word.strip("<>,;") for word in value.split() if "@" in word]
    ids = ("".join(each.split()) for each in found)
    return tuple([clean_text(each) for each in ids if each])
