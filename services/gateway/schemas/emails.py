"""Messages and labels, and the filters of lists."""

from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired, TypedDict

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from services.gateway.schemas.ids import MailboxUuid, NextCursor, OlderMailboxUuid, UnreadCount
from services.gateway.schemas.requests import NO_NUL, Cursor, Limit, MailboxQuery
from services.gateway.schemas.times import Time

type Mark = Literal["seen", "flagged", "draft", "important"]


class EmailAddress(TypedDict):
    """A sender or recipient of a message."""

    name: Annotated[str, Field(description="Decoded; empty without one", examples=["Ada Lovelace"])]
    email: Annotated[str, Field(description="As the message has it", examples=["ada@example.com"])]


# `from` is a keyword of Python.
_From = TypedDict(
    "_From", {"from": Annotated[EmailAddress | None, Field(description="The sender; null if none can be read")]}
)


class EmailSummary(_From):
    """A message as lists show it."""

    id: Annotated[str, Field(description="The id for GET /emails/{id}: opaque")]
    external_id: Annotated[str, Field(description="The provider's id")]
    mailbox_id: MailboxUuid
    account_id: OlderMailboxUuid
    thread_id: Annotated[str, Field(description="The id for GET /emails/threads/{id}")]
    from_email: Annotated[str | None, Field(description="The sender's address", examples=["ada@example.com"])]
    to: Annotated[
        list[EmailAddress], Field(description="In lists the first ones if there are very many, in the message all")
    ]
    cc: Annotated[list[EmailAddress], Field(description="Recipients of copies, cut like `to`")]
    subject: Annotated[
        str | None, Field(description="null: the message has no subject, which differs from an empty one")
    ]
    snippet: Annotated[str, Field(description="How the text begins")]
    received_at: Annotated[Time, Field(description="When the provider received it")]
    is_read: Annotated[bool, Field(description="Whether the user has read it")]
    marks: Annotated[list[Mark], Field(description="Those that are set; `seen` is `is_read`", examples=[["seen"]])]
    labels: Annotated[list[str], Field(description="Names", examples=[["INBOX", "Work"]])]
    has_attachments: Annotated[bool, Field(description="Pictures embedded in the text do not count")]
    size: Annotated[int, Field(description="Bytes")]
    highlight: NotRequired[
        Annotated[str, Field(description="HTML: text and `<mark>` only; where `highlight` was asked for and `q` fits")]
    ]


class Header(TypedDict):
    """One header field, decoded."""

    name: Annotated[str, Field(description="As the message has it")]
    value: Annotated[str, Field(description="Decoded")]


class Attachment(TypedDict):
    """The description of an attachment."""

    id: Annotated[str, Field(description="The id for GET /emails/{id}/attachments/{attachment_id}")]
    filename: Annotated[str, Field(description="Safe to save a file under", examples=["invoice.pdf"])]
    mime_type: Annotated[str, Field(description="What the sender says it is", examples=["application/pdf"])]
    size: Annotated[int, Field(description="Bytes")]
    inline: Annotated[bool, Field(description="Whether it belongs into the text")]
    content_id: Annotated[str | None, Field(description="The Content-ID by which the HTML names it")]


class Email(EmailSummary):
    """A whole message."""

    bcc: Annotated[list[EmailAddress], Field(description="Recipients that others do not see: in sent mail only")]
    reply_to: Annotated[list[EmailAddress], Field(description="Where an answer goes, if not to the sender")]
    headers: Annotated[list[Header], Field(description="In the message's order, duplicates kept")]
    text: Annotated[str | None, Field(description="The plain text, or the text of the HTML; null without either")]
    html: Annotated[
        str | None,
        Field(
            description="Without scripts, forms and content that loads from elsewhere. Pictures of the message itself "
            "have the path of their attachment as `src`, which wants the access token."
        ),
    ]
    attachments: Annotated[list[Attachment], Field(description="Attachments and embedded pictures, in their order")]


class EmailPage(TypedDict):
    """A page of messages, newest first."""

    emails: Annotated[list[EmailSummary], Field(description="Newest first")]
    next_cursor: NextCursor


LabelType = Annotated[Literal["system", "user"], Field(description="Whether the provider or the user made it")]


LabelRole = Annotated[
    Literal["inbox", "sent", "drafts", "spam", "trash", "archive", "none"],
    Field(description="Its purpose; several labels of a mailbox may have the same one"),
]


class Label(TypedDict):
    """A label of a mailbox."""

    id: Annotated[str, Field(description="The provider's id")]
    mailbox_id: MailboxUuid
    name: Annotated[str, Field(description="As the user sees it")]
    type: LabelType
    role: LabelRole
    message_count: Annotated[int, Field(description="Stored messages that carry it")]
    unread_count: UnreadCount
    stale_since: Annotated[
        Time | None,
        Field(description="Since when the provider fails for this folder, so that its changes are not copied"),
    ]


class LabelList(TypedDict):
    """All labels of a mailbox."""

    labels: Annotated[list[Label], Field(description="By name")]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise PydanticCustomError("mailroom.time", "must be between the years 1 and 9999") from None


# A date without a time is its midnight, UTC.
Moment = Annotated[datetime | None, AfterValidator(lambda moment: moment and _in_utc(moment))]


class FilterQuery(MailboxQuery):
    """The filters of messages; a message must match all of them."""

    q: Annotated[
        str,
        Field(max_length=1000, pattern=NO_NUL, description="A search: `from:ada -is:unread invoice`"),
    ] = ""
    label: Annotated[str, Field(max_length=500, pattern=NO_NUL, description="A label's name or id")] = ""
    thread_id: Annotated[str, Field(max_length=200, pattern=NO_NUL, description="A message's `thread_id`")] = ""
    unread: Annotated[bool | None, Field(description="Unread ones only, or read ones only")] = None
    has_attachment: Annotated[bool | None, Field(description="Those with an attachment only, or without")] = None
    after: Annotated[Moment, Field(description="Received at or after this time (RFC 3339) or day")] = None
    before: Annotated[Moment, Field(description="Received before this time (RFC 3339) or day")] = None


class ListQuery(FilterQuery):
    """The parameters of a list of messages."""

    highlight: Annotated[bool, Field(description="Show where the words of `q` stand")] = False
    limit: Limit = 50
    cursor: Cursor = ""
