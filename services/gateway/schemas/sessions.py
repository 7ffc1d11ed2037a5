"""The JSON of signing in and of sessions."""

from typing import Annotated, Literal, NotRequired, TypedDict

from pydantic import Field

from services.gateway.schemas.addresses import DENIED_REASON, AccessStatus
from services.gateway.schemas.requests import MAX_LIMIT, NO_NUL, Request
from services.gateway.schemas.times import Time


class SignInStart(TypedDict):
    """The URL for the browser."""

    authorization_url: str
    state: str
    expires_in: Annotated[int, Field(description="Seconds within which the user has to finish")]


class Token(TypedDict):
    """The tokens of a session."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds in which the access token expires")]
    refresh_token: Annotated[
        NotRequired[str],
        Field(description="For POST /auth/refresh, once. Absent after linking: the session stays as it is"),
    ]
    account_id: Annotated[NotRequired[str], Field(description="The account that was linked")]


class Account(TypedDict):
    """A provider account that the user connected."""

    account_id: str
    provider: str
    email: str
    status: AccessStatus
    access_denied_reason: Annotated[str | None, Field(description=DENIED_REASON)]
    connected_at: Time
    reconnect_by: Annotated[
        Time | None, Field(description="When the provider ends the grant, if it limits grants in time")
    ]


class Me(TypedDict):
    """The user."""

    user_id: str
    created_at: Time
    accounts: list[Account]


class SecurityEvent(TypedDict):
    """A change of the user's sessions or accounts."""

    id: str
    type: Annotated[str, Field(description="Types may be added")]
    created_at: Time
    account_id: str | None
    session_id: str | None
    email: Annotated[str | None, Field(description="The account's address at that time")]


class SecurityEvents(TypedDict):
    """A page of events, newest first."""

    events: list[SecurityEvent]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one")]


class TokenRequest(Request):
    """The `state` that the frontend got from the sign-in."""

    state: Annotated[str, Field(min_length=1, max_length=512)]
    code_verifier: Annotated[str | None, Field(max_length=128)] = None


class RefreshRequest(Request):
    """The newest refresh token of the session."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=512)]


class LogoutRequest(Request):
    """The sessions to end."""

    refresh_token: Annotated[
        str | None, Field(min_length=1, max_length=512, description="Names the session; no access token is needed then")
    ] = None
    all: Annotated[bool, Field(strict=True, description="All sessions of the user")] = False


class EventQuery(Request):
    """The parameters of a list of events."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str, Field(max_length=64, pattern=NO_NUL)] = ""
