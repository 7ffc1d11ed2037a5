"""The JSON of the public API. Answers are typed dicts: checked by mypy, shown in OpenAPI, free at run time."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired, Self, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

MAX_COUNT = 1_000_000
MAX_LIMIT = 200
MAX_CHANGES = 500

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC")]


class FieldError(TypedDict):
    """One wrong field of a request."""

    field: str
    message: str


class Problem(TypedDict):
    """RFC 9457. `code` is stable and explained in the error catalogue."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: NotRequired[list[FieldError]]
    column: NotRequired[Annotated[int, Field(description="Where in `q` the mistake is, from 1")]]


class EmailAddress(TypedDict):
    """Who a message is from or to."""

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
    to: list[EmailAddress]
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
    """An attachment's description."""

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
            description="Without scripts, forms and whatever loads from elsewhere. Pictures of the message itself "
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


class Thread(TypedDict):
    """The stored messages with one `thread_id`."""

    id: str
    account_id: str
    subject: Annotated[str | None, Field(description="The oldest message's")]
    snippet: Annotated[str, Field(description="The newest message's")]
    last_message_at: Time
    message_count: int
    unread_count: int
    participants: Annotated[list[EmailAddress], Field(description="Who wrote, in order; at most 20")]
    labels: Annotated[list[str], Field(description="Names, of all its messages")]
    has_attachments: bool


class ThreadPage(TypedDict):
    """A page of threads, those with the newest messages first."""

    threads: list[Thread]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one")]


class ThreadView(Thread):
    """A thread with its messages."""

    emails: Annotated[list[EmailSummary], Field(description="Oldest first; of a longer thread the newest 1000")]


class Change(TypedDict):
    """What happened to a message."""

    type: Literal["created", "updated", "deleted"]
    id: str
    email: Annotated[EmailSummary | None, Field(description="As it is now; null if it was deleted")]


class ChangePage(TypedDict):
    """What happened since a position, in order; of each message the last change."""

    changes: list[Change]
    next_since: Annotated[str, Field(description="Give it as `since` to go on")]
    has_more: Annotated[bool, Field(description="Whether more changes are there already")]


class Labels(TypedDict):
    """All labels of a mailbox."""

    labels: list[Label]


class Address(TypedDict):
    """A connected mailbox."""

    account_id: str
    email: str
    provider: str
    status: Literal["active", "reauth_required"]
    reconnect_by: Annotated[
        Time | None, Field(description="When the provider ends the grant, if it limits grants in time")
    ]
    last_synced_at: Time | None
    message_count: int
    unread_count: int


class Addresses(TypedDict):
    """The user's connected mailboxes, oldest first."""

    addresses: list[Address]


class DeadLetter(TypedDict):
    """A message that could not be fetched or stored."""

    external_id: str
    reason: str
    attempts: int


class Verification(TypedDict):
    """What comparing the copy with the provider has found; all of it is repaired before the sync ends."""

    done: Annotated[bool, Field(description="Everything has been compared")]
    missing: Annotated[int, Field(description="Messages that the provider lists and the copy lacked")]
    extra: Annotated[int, Field(description="Messages of the copy that the provider does not list")]
    drift: Annotated[int, Field(description="Messages whose labels differed")]
    digest: Annotated[
        str | None,
        Field(
            description="Of the repaired copy, 32 hex digits: the XOR, over all messages, of the first 128 bits of the "
            "SHA-256 of `id label,label,...`, with the provider's ids, the labels in the order of their bytes"
        ),
    ]


class Sync(TypedDict):
    """A run that brings a mailbox up to date."""

    id: str
    account_id: str
    email: str
    state: Literal["queued", "running", "completed", "failed", "cancelled"]
    count: Annotated[int | Literal["all"], Field(description="The coverage asked for")]
    listed: int
    stored: int
    pending: int
    dead_letters: Annotated[list[DeadLetter], Field(description="At most 100 of them")]
    dead_letter_count: int
    units_spent: Annotated[int, Field(description="Quota units spent at the provider")]
    units_per_message: Annotated[float | None, Field(description="Of those, per message stored")]
    eta_seconds: int | None
    verification: Annotated[Verification | None, Field(description="Only where it was asked for, or due")]
    error: str | None
    created_at: Time
    ended_at: Time | None


class Health(TypedDict):
    """State of the process."""

    status: str


class _Request(BaseModel):
    # What we do not know yet may be a newer client's: it is ignored.
    model_config = ConfigDict(frozen=True, extra="ignore")


def _whole_number_or_all(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    try:
        return inner(value)
    except ValidationError:
        # Otherwise each branch of the union reports a problem of its own.
        raise PydanticCustomError("count", 'must be a whole number from 1 to 1000000, or "all"') from None


Count = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)] | Literal["all"], WrapValidator(_whole_number_or_all)
]
# No text anywhere in Mailroom holds NUL, which Postgres refuses.
_NO_NUL = r"^[^\x00]*$"
AccountId = Annotated[str | None, Field(min_length=1, max_length=64, pattern=_NO_NUL)]
AddressText = Annotated[str | None, Field(min_length=1, max_length=320, pattern=_NO_NUL)]


class SyncRequest(_Request):
    """Names a mailbox by exactly one of `email` and `account_id`."""

    email: AddressText = None
    account_id: AccountId = None
    count: Annotated[
        Count, Field(description="The newest so many messages, stored ones included, or the whole mailbox")
    ] = 10

    @validator(mode="after")
    def _one_mailbox(self) -> Self:
        _require_one(self, "email", "account_id")
        return self


class VerifyRequest(_Request):
    """Names a mailbox by exactly one of `email` and `account_id`."""

    email: AddressText = None
    account_id: AccountId = None

    @validator(mode="after")
    def _one_mailbox(self) -> Self:
        _require_one(self, "email", "account_id")
        return self


class MailboxQuery(_Request):
    """Names a mailbox by exactly one of `user_email` and `account_id`."""

    user_email: AddressText = None
    account_id: AccountId = None

    @validator(mode="after")
    def _one_mailbox(self) -> Self:
        _require_one(self, "user_email", "account_id")
        return self


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise PydanticCustomError("time", "must be between the years 1 and 9999") from None


# A day alone is its midnight, UTC.
Moment = Annotated[datetime | None, AfterValidator(lambda moment: moment and _in_utc(moment))]


class FilterQuery(MailboxQuery):
    """Which messages of the mailbox: those that fit all of it."""

    q: Annotated[
        str, Field(max_length=1000, pattern=_NO_NUL, description="A search like Gmail's: `from:ada -is:unread invoice`")
    ] = ""
    label: Annotated[str, Field(max_length=500, pattern=_NO_NUL, description="A label's name or id")] = ""
    thread_id: Annotated[str, Field(max_length=200, pattern=_NO_NUL)] = ""
    unread: bool | None = None
    has_attachment: bool | None = None
    after: Annotated[Moment, Field(description="Received at or after this time (RFC 3339) or day")] = None
    before: Annotated[Moment, Field(description="Received before this time (RFC 3339) or day")] = None


class ListQuery(FilterQuery):
    """What to list."""

    highlight: Annotated[bool, Field(description="Show where the words of `q` stand")] = False
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str, Field(max_length=2048, pattern=_NO_NUL)] = ""


class ThreadsQuery(MailboxQuery):
    """Which part of the threads to list."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str, Field(max_length=2048, pattern=_NO_NUL)] = ""


class ChangesQuery(MailboxQuery):
    """From where to follow the changes."""

    since: Annotated[
        str, Field(max_length=200, pattern=_NO_NUL, description="`next_since` of an earlier answer; empty: from now on")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_CHANGES)] = 100


def _require_one(model: BaseModel, first: str, second: str) -> None:
    if (getattr(model, first) is None) == (getattr(model, second) is None):
        raise PydanticCustomError(
            "mailbox", "give exactly one of {first} and {second}", {"first": first, "second": second}
        )
