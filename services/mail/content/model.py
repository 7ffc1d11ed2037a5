"""The one message model, the same for every provider and format.

Every text in it is clean (no NUL, no lone surrogate), so that it can be stored as it is.
"""

from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct


class Address(Struct, frozen=True, gc=False):
    """One mailbox of an address header.

    `name` is the decoded display name or "". `email` is the addr-spec as written (case kept), or "" where the
    header gives a name without an address.
    """

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part that is not body text, or a file that stands uuencoded in a text.

    `part_id` is stable for a message ("" is the root part, then "0", "0.1"). `filename` is sanitised, "" when the
    message gives none. `mime_type` is the sender's claim: never trust it. `size` is in bytes, transfer encoding
    removed. `inline` pictures are those that the HTML shows: by `content_id` (without angle brackets), by
    `content_location` (a URL, RFC 2557) or by file name. `message` describes an attached message.

    Stored as JSON: fields that later versions add have defaults.
    """

    part_id: str
    filename: str
    mime_type: str
    size: int
    inline: bool
    content_id: str | None
    content_location: str | None = None
    message: "AttachedMessage | None" = None


@dataclass(frozen=True, slots=True)
class AttachedMessage:
    """The contents of an attached message (message/rfc822), within bounds: see `limits`.

    `text` is plain text, derived from HTML if the message has no other; None if the message has no text, if it was
    not delivered, and in a digest, whose messages are part of the body. `attachments` are those of the attached
    message, with ids in the whole message; their messages are described in turn.
    """

    subject: str | None
    from_: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    sent_at: datetime | None
    text: str | None
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class CalendarPart:
    """One invitation that is part of the body (text/calendar); `method` is upper case, e.g. REQUEST or CANCEL."""

    part_id: str
    method: str | None
    text: str


@dataclass(frozen=True, slots=True)
class MissingPart:
    """One body part that the provider left out and that the caller must fetch before the message is complete.

    `handle` is the provider's, as in the part tree.
    """

    part_id: str
    handle: str
    mime_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message, decoded.

    `headers` keeps order and duplicates, values unfolded and decoded. `subject` is None without such a
    header, "" when it is empty. `from_` is the first author, None without any. `sent_at` is aware UTC, None
    when absent, unreadable or outside 1970..2099. Message ids carry no angle brackets. `text` is derived from the
    HTML when `text_from_html`. `truncated` says that something was cut or left out; `defects` are stable kebab-case
    words. `missing_parts` is empty unless the provider delivered body text by reference only.
    """

    headers: tuple[tuple[str, str], ...]
    from_: Address | None
    authors: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str | None
    sent_at: datetime | None
    message_id: str | None
    in_reply_to: str | None
    references: tuple[str, ...]
    text: str | None
    html: str | None
    text_from_html: bool
    attachments: tuple[Attachment, ...]
    calendar: tuple[CalendarPart, ...]
    encrypted: bool
    truncated: bool
    defects: tuple[str, ...]
    missing_parts: tuple[MissingPart, ...]

    def header(self, name: str) -> str | None:
        """Return the first header of that name, in any case; None if the message lacks it."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def has_attachments(self) -> bool:
        """Whether a reader would say that something is attached: pictures that the HTML shows do not count."""
        return not all(each.inline and each.mime_type.startswith("image/") for each in self.attachments)
