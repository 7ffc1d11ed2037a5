"""The JSON of signing in and of sessions."""

from typing import Annotated, Literal, NotRequired, TypedDict

from pydantic import Field

from services.gateway.schemas.addresses import DENIED_REASON, AccessStatus
from services.gateway.schemas.ids import AccountUuid, MailAddress, MailboxUuid, NextCursor, Provider, UserUuid, Uuid
from services.gateway.schemas.requests import Cursor, Limit, Request
from services.gateway.schemas.times import Time

ClientNetwork = Annotated[
    str | None,
    Field(description="The network of the client, a /24 or a /48; null: unknown", examples=["192.0.2.0/24"]),
]
ClientProgram = Annotated[
    str | None,
    Field(description="The client's program and system; null: unknown", examples=["Firefox on Linux"]),
]


class SignInStart(TypedDict):
    """The URL for the browser."""

    authorization_url: Annotated[str, Field(description="Where the browser goes", json_schema_extra={"format": "uri"})]
    state: Annotated[str, Field(description="Belongs to the provider's redirect; it redeems nothing")]
    expires_in: Annotated[int, Field(description="Seconds within which the user has to finish")]


class Token(TypedDict):
    """The tokens of a session."""

    access_token: Annotated[str, Field(description="For the header `Authorization: Bearer ...`, a JWT (RFC 9068)")]
    token_type: Annotated[Literal["Bearer"], Field(description="The scheme of that header")]
    expires_in: Annotated[int, Field(description="Seconds in which the access token expires")]
    refresh_token: Annotated[
        NotRequired[str],
        Field(description="For POST /auth/refresh, once. Absent after linking: the session stays as it is"),
    ]
    mailbox_id: Annotated[NotRequired[Uuid], Field(description="The mailbox of the account that was linked")]
    account_id: Annotated[NotRequired[Uuid], Field(description="The account that was linked")]


class Account(TypedDict):
    """A provider account that the user connected."""

    account_id: AccountUuid
    mailbox_id: MailboxUuid
    provider: Provider
    email: MailAddress
    status: Annotated[AccessStatus, Field(description="Whether the provider lets Mailroom read the mailbox")]
    access_denied_reason: Annotated[str | None, Field(description=DENIED_REASON)]
    connected_at: Annotated[Time, Field(description="When it was connected first")]
    reconnect_by: Annotated[
        Time | None, Field(description="When the provider ends the grant, if it limits grants in time")
    ]


class Me(TypedDict):
    """The user."""

    user_id: UserUuid
    created_at: Annotated[Time, Field(description="When the user signed in first")]
    accounts: Annotated[list[Account], Field(description="Oldest first")]


class Session(TypedDict):
    """A session: it begins with a sign-in and goes on by refreshing."""

    id: Annotated[Uuid, Field(description="The id of the session, `sid` in its access tokens")]
    is_current: Annotated[bool, Field(description="Whether this request's access token belongs to it")]
    created_at: Annotated[Time, Field(description="When the user signed in")]
    last_used_at: Annotated[Time, Field(description="When it was refreshed last")]
    client_network: ClientNetwork
    client: ClientProgram


class SessionList(TypedDict):
    """The sessions of the user that go on."""

    sessions: Annotated[list[Session], Field(description="The last used one first")]


class SecurityEvent(TypedDict):
    """A change of the user's sessions or accounts."""

    id: Annotated[str, Field(description="The id of the event")]
    type: Annotated[str, Field(description="What happened; types may be added", examples=["signed_in"])]
    created_at: Annotated[Time, Field(description="When it happened")]
    account_id: Annotated[Uuid | None, Field(description="The account that it concerns")]
    mailbox_id: Annotated[Uuid | None, Field(description="The mailbox of that account")]
    session_id: Annotated[Uuid | None, Field(description="The session that it concerns")]
    email: Annotated[str | None, Field(description="The account's address at that time")]
    client_network: ClientNetwork
    client: ClientProgram


class SecurityEvents(TypedDict):
    """A page of events, newest first."""

    events: Annotated[list[SecurityEvent], Field(description="Newest first")]
    next_cursor: NextCursor


class TokenRequest(Request):
    """The `state` that the frontend got from the sign-in."""

    state: Annotated[str, Field(min_length=1, max_length=512, description="The `state` of the frontend's URL")]
    code_verifier: Annotated[
        str | None,
        Field(max_length=128, description="Of the `code_challenge` at the start, if there was one (RFC 7636)"),
    ] = None


class RefreshRequest(Request):
    """The newest refresh token of the session."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=512, description="Of the last answer; valid once")]


class LogoutRequest(Request):
    """The sessions to end."""

    refresh_token: Annotated[
        str | None, Field(min_length=1, max_length=512, description="Names the session; no access token is needed then")
    ] = None
    all: Annotated[bool, Field(strict=True, description="All sessions of the user")] = False


class EventQuery(Request):
    """The parameters of a list of events."""

    limit: Limit = 50
    cursor: Cursor = ""
