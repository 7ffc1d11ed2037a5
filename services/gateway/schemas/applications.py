"""Applications, their users and their API keys."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.requests import NO_NUL, Cursor, Limit, Request
from services.gateway.schemas.sessions import Account
from services.gateway.schemas.times import Moment, Time
from services.kit.scopes import Scope

_KEY_ID = Field(description="The part of the key after `mr_`, which is no secret", examples=["0A1b2C3d4E5"])
_NAME = Field(min_length=1, max_length=100, pattern=NO_NUL)
_REDIRECT_URLS = Field(max_length=20, description="Where browsers may be sent after a connect session")
ExternalUserId = Annotated[
    str, Field(min_length=1, max_length=200, pattern=NO_NUL, description="The application's own id of the user")
]


class NewKey(Request):
    """An API key to create. It can do no more than the key that creates it."""

    name: Annotated[str, _NAME, Field(description="What the key is for")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope), description="What it may do")]
    mailbox_ids: Annotated[
        list[str] | None, Field(min_length=1, max_length=50, description="The only mailboxes that it reaches")
    ] = None
    networks: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            max_length=50,
            description="The only networks that it is used from (CIDR)",
            examples=[["192.0.2.0/24"]],
        ),
    ] = None
    expires_at: Annotated[Moment | None, Field(description="When it ends; null: never")] = None


class ApiKey(TypedDict):
    """An API key, without its secret."""

    id: Annotated[str, _KEY_ID]
    name: Annotated[str, Field(description="What the key is for")]
    scopes: Annotated[list[str], Field(description="What it may do")]
    mailbox_ids: Annotated[list[str] | None, Field(description="The only mailboxes that it reaches; null: all")]
    networks: Annotated[list[str] | None, Field(description="The only networks that it is used from; null: any")]
    created_by: Annotated[str | None, Field(description="The `id` of the key that created it; null: the server")]
    created_at: Annotated[Time, Field(description="When it was made, or happened")]
    expires_at: Annotated[Time | None, Field(description="When it ends; null: never")]
    revoked_at: Annotated[Time | None, Field(description="When it was revoked; null: it was not")]
    last_used_at: Annotated[Time | None, Field(description="To ten minutes; null: never")]


class CreatedKey(ApiKey):
    """An API key with its secret, which is shown this once."""

    api_key: Annotated[str, Field(description="The key; it cannot be shown again")]


class KeyList(TypedDict):
    """The API keys of the application."""

    keys: Annotated[list[ApiKey], Field(description="Newest first: all that live, and the newest of the others")]


class KeyEvent(TypedDict):
    """Something that happened to an API key."""

    type: Annotated[str, Field(description="`created`, `refused` or `revoked`; a series of refusals is one event")]
    created_at: Annotated[Time, Field(description="When it was made, or happened")]
    client_network: Annotated[str | None, Field(description="The network of the request")]
    client: Annotated[str | None, Field(description="The program of the request")]


class KeyEventList(TypedDict):
    """The events of an API key."""

    events: Annotated[list[KeyEvent], Field(description="Newest first, 100 at most")]


class NewApplication(Request):
    """An application to create."""

    name: Annotated[str, _NAME, Field(description="A name that no other application has")]
    redirect_urls: Annotated[tuple[str, ...], _REDIRECT_URLS] = ()


class ApplicationChanges(Request):
    """Changes of an application."""

    redirect_urls: Annotated[list[str], _REDIRECT_URLS]


class Application(TypedDict):
    """An application."""

    id: Annotated[str, Field(description="The id of the application", json_schema_extra={"format": "uuid"})]
    name: Annotated[str, Field(description="Its name")]
    redirect_urls: Annotated[list[str], Field(description="Where browsers may be sent after a connect session")]
    created_at: Annotated[Time, Field(description="When it was made, or happened")]
    deletion_requested_at: Annotated[
        Time | None, Field(description="When its deletion was requested, which goes on; null: it was not")
    ]


class ApplicationList(TypedDict):
    """All applications."""

    applications: Annotated[list[Application], Field(description="Oldest first")]


class NewUser(Request):
    """A user of the application."""

    external_user_id: ExternalUserId


class UserQuery(Request):
    """Which users of the application are listed."""

    external_user_id: Annotated[
        str | None, Field(min_length=1, max_length=200, pattern=NO_NUL, description="Only the user of this id")
    ] = None
    limit: Limit = 50
    cursor: Cursor = ""


class ApplicationUser(TypedDict):
    """A user of the application."""

    user_id: Annotated[str, Field(description="The id of the user", json_schema_extra={"format": "uuid"})]
    external_user_id: Annotated[
        str | None, Field(description="The application's own id; null: the user signed in to Mailroom")
    ]
    created_at: Annotated[Time, Field(description="When it was made, or happened")]


class ApplicationUserDetails(ApplicationUser):
    """A user of the application with their accounts."""

    accounts: Annotated[list[Account], Field(description="Oldest first")]


# Source: RFC 8693 sections 2.1 and 3; the type of a user's id is our own.
ACCESS_TOKEN_TYPE: Literal["urn:ietf:params:oauth:token-type:access_token"] = (
    "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
)


class TokenExchangeRequest(Request):
    """The user for whom an access token is wanted, in the terms of RFC 8693."""

    grant_type: Annotated[
        Literal["urn:ietf:params:oauth:grant-type:token-exchange"], Field(description="The grant type of RFC 8693")
    ]
    subject_token: Annotated[
        str, Field(min_length=1, max_length=64, pattern=NO_NUL, description="The user's `user_id`")
    ]
    subject_token_type: Annotated[
        Literal["urn:mailroom:token-type:user-id"], Field(description="What `subject_token` is")
    ]
    scope: Annotated[
        str,
        Field(
            max_length=200,
            pattern=NO_NUL,
            description="Scopes of the key, separated by spaces; empty: `mail.read mailboxes.read`, where it has them",
            examples=["mail.read"],
        ),
    ] = ""


class ExchangedToken(TypedDict):
    """An access token of a user, in the terms of RFC 8693."""

    access_token: Annotated[str, Field(description="For the header `Authorization: Bearer ...`, a JWT (RFC 9068)")]
    issued_token_type: Annotated[
        Literal["urn:ietf:params:oauth:token-type:access_token"], Field(description="What it is")
    ]
    token_type: Annotated[Literal["Bearer"], Field(description="The scheme of that header")]
    expires_in: Annotated[int, Field(description="Seconds in which it expires")]
    scope: Annotated[str, Field(description="What it may do, separated by spaces", examples=["mail.read"])]


class UserPage(TypedDict):
    """A page of users."""

    users: Annotated[list[ApplicationUser], Field(description="By id")]
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page; null: this is the last one")]
