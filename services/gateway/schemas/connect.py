"""Connect sessions."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.applications import ExternalUserId
from services.gateway.schemas.ids import MailAddress, MailboxUuid, Provider, UserUuid, Uuid
from services.gateway.schemas.requests import NO_NUL, Request
from services.gateway.schemas.times import Time

type Access = Literal["read"]


class NewConnectSession(Request):
    """A mailbox to connect for a user of the application."""

    external_user_id: ExternalUserId
    redirect_url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1000,
            pattern=NO_NUL,
            description="Where the browser goes at the end: exactly one of the application's redirect URLs",
            examples=["https://shop.example/connected"],
        ),
    ]
    provider: Annotated[
        str | None,
        Field(min_length=1, max_length=100, pattern=NO_NUL, description="The provider's name; null: the user chooses"),
    ] = None
    access: Annotated[
        tuple[Access, ...],
        Field(min_length=1, max_length=1, description="What the application may do with the mailbox"),
    ] = ("read",)
    login_hint: Annotated[
        str | None,
        Field(max_length=320, pattern=NO_NUL, description="The address that the user is likely to connect"),
    ] = None


class ConnectSession(TypedDict):
    """A connect session, whose page the user opens."""

    id: Annotated[Uuid, Field(description="The id of the session, `session` of the redirect URL at the end")]
    url: Annotated[
        str,
        Field(description="The page for the user's browser. It is a secret", json_schema_extra={"format": "uri"}),
    ]
    user_id: UserUuid
    expires_at: Annotated[Time, Field(description="When the page does not open any more")]


class ConnectCode(Request):
    """The code that the user's browser brought."""

    code: Annotated[str, Field(min_length=1, max_length=512, pattern=NO_NUL, description="Of the redirect URL")]


class ConnectedMailbox(TypedDict):
    """The mailbox that was connected, with the id that it had if it was connected before."""

    mailbox_id: MailboxUuid
    email: MailAddress
    provider: Provider
    user_id: UserUuid
    external_user_id: Annotated[str, Field(description="The application's own id of the user")]
