"""Messages and labels, and the filters of lists."""

from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired, TypedDict

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from services.gateway.schemas.requests import MAX_LIMIT, NO_NUL, MailboxQuery
from services.gateway.schemas.times import Time


class EmailAddress(TypedDict):
    """A sender or recipient of a message."""

    name: str
    email: str


# `from` is a keyword of Python.
_From = TypedDict("_From", {"from": EmailAddress | None})


class EmailSummary(_From):
    """A message as lists show it."""

    id: str
    external_id: Annotated[str, Field(description="The provider's id")]
    account_id: str
    thread_id: str
    from_email: str | None
    to: Annotated[
        list[EmailAddress], Field(description="In lists the first ones if there are very many, in the message all")
    ]
    cc: list[EmailAddress]
    subject: Annotated[
        str | None, Field(description="null: the message has no subject, which differs from an empty one")
    ]
    snippet: str
    received_at: Time
    is_read: bool
    labels: Annotated[list[str], Field(description="Names")]
    has_attachments: bool
    size: Annotated[int, Field(description="Bytes")]
    highlight: NotRequired[
        Annotated[str, Field(description="HTML: text and `<mark>` only; where `highlight` was asked for and `q` fits")]
    ]


class Header(TypedDict):
    """One header field, decoded."""

    name: str
    value: str


class Attachment(TypedDict):
    """The description of an attachment."""

    id: str
    filename: str
    mime_type: str
    size: int
    inline: bool
    content_id: str | None


class Email(EmailSummary):
    """A whole message."""

    bcc: list[EmailAddress]
    reply_to: list[EmailAddress]
    headers: Annotated[list[Header], Field(description="In the message's order, duplicates kept")]
    text: str | None
    html: Annotated[
        str | None,
        Field(
            description="Without scripts, forms and content that loads from elsewhere. Pictures of the message itself "
            "have the path of their attachment as `src`, which wants the access token."
        ),
    ]
    attachments: list[Attachment]


class EmailPage(TypedDict):
    """A page of messages, newest first."""

    emails: list[EmailSummary]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one")]


class Label(TypedDict):
    """A label of a mailbox."""

    id: Annotated[str, Field(description="The provider's id")]
    name: str
    type: Literal["system", "user"]
    message_count: Annotated[int, Field(description="Stored messages that carry it")]
    unread_count: int


class Labels(TypedDict):
    """All labels of a mailbox."""

    labels: list[Label]


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
        str, Field(max_length=1000, pattern=NO_NUL, description="A search like Gmail's: `from:ada -is:unread invoice`")
    ] = ""
    label: Annotated[str, Field(max_length=500, pattern=NO_NUL, description="A label's name or id")] = ""
    thread_id: Annotated[str, Field(max_length=200, pattern=NO_NUL)] = ""
    unread: bool | None = None
    has_attachment: bool | None = None
    after: Annotated[Moment, Field(description="Received at or after this time (RFC 3339) or day")] = None
    before: Annotated[Moment, Field(description="Received before this time (RFC 3339) or day")] = None


class ListQuery(FilterQuery):
    """The parameters of a list of messages."""

    highlight: Annotated[bool, Field(description="Show where the words of `q` stand")] = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str, Field(max_length=2048, pattern=NO_NUL)] = ""
