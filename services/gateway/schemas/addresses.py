"""Connected mailboxes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.times import Time


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
