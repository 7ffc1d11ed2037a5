"""Connected mailboxes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.ids import (
    MailAddress,
    MailboxUuid,
    MessageCount,
    NextCursor,
    OlderMailboxUuid,
    Provider,
    UnreadCount,
    UserUuid,
)
from services.gateway.schemas.requests import NO_NUL, Cursor, Limit, Request
from services.gateway.schemas.times import Time

type AccessStatus = Literal["active", "reauth_required", "access_denied"]
DENIED_REASON = "Why the provider denies access: a reason of docs/errors.md"


class Mailbox(TypedDict):
    """A connected mailbox."""

    mailbox_id: MailboxUuid
    email: MailAddress
    provider: Provider
    status: Annotated[AccessStatus, Field(description="Whether the provider lets Mailroom read the mailbox")]
    access_denied_reason: Annotated[str | None, Field(description=DENIED_REASON)]
    reconnect_by: Annotated[
        Time | None, Field(description="When the provider ends the grant, if it limits grants in time")
    ]
    last_synced_at: Annotated[
        Time | None, Field(description="When the copy was current last; null before the first sync")
    ]
    message_count: MessageCount
    unread_count: UnreadCount
    user_id: UserUuid


class Address(Mailbox):
    """A connected mailbox, with the older name of its id."""

    account_id: OlderMailboxUuid


class MailboxListQuery(Request):
    """Which connected mailboxes are listed."""

    status: Annotated[AccessStatus | None, Field(description="Only mailboxes in this state")] = None
    provider: Annotated[str, Field(max_length=100, pattern=NO_NUL, description="Only those of this provider")] = ""
    email: Annotated[str, Field(max_length=320, pattern=NO_NUL, description="Only those with this address")] = ""
    user_id: Annotated[
        str,
        Field(max_length=64, pattern=NO_NUL, description="Only those of this user of the application; for API keys"),
    ] = ""
    external_user_id: Annotated[
        str,
        Field(max_length=200, pattern=NO_NUL, description="Only those of the user of this id; for API keys"),
    ] = ""
    limit: Annotated[
        Limit | None, Field(description="The most items of a page; by default 50 for API keys, else all of them")
    ] = None
    cursor: Cursor = ""


class MailboxList(TypedDict):
    """Connected mailboxes, of the user or of the application."""

    mailboxes: Annotated[list[Mailbox], Field(description="Oldest first")]
    next_cursor: NextCursor


class AddressList(TypedDict):
    """The user's connected mailboxes."""

    addresses: Annotated[list[Address], Field(description="Oldest first")]
