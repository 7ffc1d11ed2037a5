"""Connected mailboxes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.ids import MailAddress, MailboxUuid, MessageCount, OlderMailboxUuid, Provider, UnreadCount
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


class Address(Mailbox):
    """A connected mailbox, with the older name of its id."""

    account_id: OlderMailboxUuid


class MailboxList(TypedDict):
    """The user's connected mailboxes."""

    mailboxes: Annotated[list[Mailbox], Field(description="Oldest first")]


class AddressList(TypedDict):
    """The user's connected mailboxes."""

    addresses: Annotated[list[Address], Field(description="Oldest first")]
