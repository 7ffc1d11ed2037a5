"""Connected mailboxes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.times import Time

type AccessStatus = Literal["active", "reauth_required", "access_denied"]
DENIED_REASON = "Why the provider denies access: a reason of docs/errors.md"


class Address(TypedDict):
    """A connected mailbox."""

    account_id: str
    email: str
    provider: str
    status: AccessStatus
    access_denied_reason: Annotated[str | None, Field(description=DENIED_REASON)]
    reconnect_by: Annotated[
        Time | None, Field(description="When the provider ends the grant, if it limits grants in time")
    ]
    last_synced_at: Time | None
    message_count: int
    unread_count: int


class Addresses(TypedDict):
    """The user's connected mailboxes, oldest first."""

    addresses: list[Address]
