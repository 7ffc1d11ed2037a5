"""Syncs, and the requests that start them."""

from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from services.gateway.schemas.ids import MailAddress, MailboxUuid, NextCursor, OlderMailboxUuid
from services.gateway.schemas.requests import Cursor, Limit, MailboxName, MaybeMailboxQuery
from services.gateway.schemas.times import Time

MAX_COUNT = 1_000_000


class DeadLetter(TypedDict):
    """A message that could not be fetched or stored."""

    external_id: Annotated[str, Field(description="The provider's id")]
    reason: Annotated[str, Field(description="The last failure")]
    attempts: Annotated[int, Field(description="How often it was tried")]


class Verification(TypedDict):
    """The differences between the copy and the provider; all are repaired before the sync ends."""

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


type SyncState = Literal["queued", "running", "completed", "failed", "cancelled"]
type WaitReason = Literal["quota", "quota_project", "quota_day", "quota_service", "provider", "access", "mailroom"]


class SyncSummary(TypedDict):
    """A run that brings a mailbox up to date, as lists show it."""

    id: Annotated[str, Field(description="The id for GET /emails/syncs/{id}")]
    mailbox_id: MailboxUuid
    account_id: OlderMailboxUuid
    email: MailAddress
    state: Annotated[SyncState, Field(description="`completed`, `failed` and `cancelled` are ends")]
    count: Annotated[int | Literal["all"], Field(description="The coverage asked for")]
    listed: Annotated[int, Field(description="Messages that the provider has listed so far")]
    stored: Annotated[int, Field(description="Messages that this sync has stored")]
    pending: Annotated[int, Field(description="Messages that wait to be fetched")]
    dead_letter_count: Annotated[int, Field(description="All messages that could not be fetched")]
    units_spent: Annotated[int, Field(description="Quota units spent at the provider")]
    units_per_message: Annotated[float | None, Field(description="Of those, per message stored")]
    eta_seconds: Annotated[int | None, Field(description="Estimated seconds until the end; null if unknown")]
    verification: Annotated[Verification | None, Field(description="Only where it was requested, or due")]
    error: Annotated[str | None, Field(description="Why it failed: a code of docs/errors.md")]
    last_error: Annotated[
        str | None, Field(description="The last failure of a sync that goes on; null after the next success")
    ]
    access_denied_reason: Annotated[
        str | None, Field(description="Why the provider denies access to the mailbox: a reason of docs/errors.md")
    ]
    waiting_until: Annotated[Time | None, Field(description="Nothing happens before; null while it is worked on")]
    waiting_for: Annotated[WaitReason | None, Field(description="What it waits for until then")]
    progress_at: Annotated[Time | None, Field(description="When it last listed or stored something")]
    created_at: Annotated[Time, Field(description="When it was requested")]
    ended_at: Annotated[Time | None, Field(description="When it ended; null before")]


class Sync(SyncSummary):
    """A run that brings a mailbox up to date."""

    dead_letters: Annotated[list[DeadLetter], Field(description="At most 100 of them")]


class SyncPage(TypedDict):
    """A page of syncs, newest first."""

    syncs: Annotated[list[SyncSummary], Field(description="Newest first")]
    next_cursor: NextCursor


class SyncListQuery(MaybeMailboxQuery):
    """The parameters of a list of syncs."""

    limit: Limit = 50
    cursor: Cursor = ""


def _whole_number_or_all(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    try:
        return inner(value)
    except ValidationError:
        # A plain union would report a problem for each of its types.
        raise PydanticCustomError("mailroom.count", 'must be a whole number from 1 to 1000000, or "all"') from None


Count = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)] | Literal["all"], WrapValidator(_whole_number_or_all)
]


class SyncRequest(MailboxName):
    """A mailbox, and how much of it is wanted."""

    count: Annotated[
        Count, Field(description="The newest so many messages, stored ones included, or the whole mailbox")
    ] = 10


class VerifyRequest(MailboxName):
    """The mailbox to compare."""
