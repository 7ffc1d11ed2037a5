"""Control API over users, clients, tokens, keys and time, below `/_sandbox/`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Protocol

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox.clock import Clock
from services.sandbox.control.json_body import ControlBody, ControlError, read_body
from services.sandbox.control.path_user import user_of_path
from services.sandbox.google.gmail.watch_and_push import PushService
from services.sandbox.google.oauth.users import Deviations, SandboxUsers, UserExistsError
from services.sandbox.mailboxes.user import User
from services.sandbox.oauth.clients import Client, Clients

_EMAIL = r"^[^@\s]+@[^@\s]+$"
Address = Annotated[str, Field(pattern=_EMAIL, max_length=320)]


class Mailboxes(Protocol):
    """The operations on mailboxes that control of users needs."""

    def populate(self, user: User, *, messages: int, seed: int | None, ugly: bool) -> int:
        """Generate mail that predates the sandbox. Returns the number of messages in the mailbox."""

    def count(self, user: User) -> int:
        """Return the number of messages in the mailbox."""

    def drop(self, user: User) -> None:
        """Delete the mailbox."""


class Grants(Protocol):
    """The grants of all users at one provider."""

    def revoke(self, sub: str) -> None:
        """End all grants of the user."""

    def expire_access_tokens(self, sub: str) -> int:
        """Expire the user's access tokens. Returns their number."""

    def end_by_password(self, sub: str) -> int:
        """End the tokens that a new password ends. Returns the number of refresh tokens."""


class NewUser(ControlBody):
    """A user to create, with `messages` generated messages."""

    email: Address
    name: str | None = Field(default=None, min_length=1, max_length=200)
    email_verified: bool = True
    hd: str | None = None
    send_as: tuple[Address, ...] = ()
    messages: int = Field(default=0, ge=0, le=5_000_000)
    seed: int | None = None
    ugly: bool = False


class UserChange(ControlBody):
    """Attributes to change; absent ones keep their values."""

    email: Address = ""
    name: str = Field(default="", min_length=1, max_length=200)
    email_verified: bool = True
    hd: str | None = None
    send_as: tuple[Address, ...] = ()


class DeviationsBody(ControlBody):
    """Treatment of a user; absent fields take their defaults."""

    iss: bool = True
    testing: bool = False
    refresh_token_cap: int = Field(default=100, ge=1)
    authorize_error: str | None = Field(default=None, pattern=r"^[a-z_]+$")
    rapt_required: bool = False
    extra_fields: bool = False
    empty_arrays: bool = False


class ClientBody(ControlBody):
    """A client of the OAuth server."""

    client_secret: str = Field(min_length=1)
    redirect_uris: list[str] = Field(default_factory=list)
    name: str = Field(default="Mailroom", min_length=1)
    deleted: bool = False


class Advance(ControlBody):
    """A step of the clock."""

    seconds: float = Field(ge=0, le=10 * 366 * 86_400, allow_inf_nan=False)


class Rotation(ControlBody):
    """A change of the signing key. Unannounced by default, the harder case for clients."""

    announced: bool = False
    keep_old: bool = True


class UserControl:
    """Handlers for users, their tokens at all providers, clients, the clock and signing keys."""

    def __init__(
        self,
        *,
        users: SandboxUsers,
        grants: Sequence[Grants],
        clients: Clients,
        clock: Clock,
        mailboxes: Mailboxes,
        push: PushService,
    ) -> None:
        self._users = users
        self._grants = grants
        self._clients = clients
        self._clock = clock
        self._mailboxes = mailboxes
        self._push = push

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        user = "/_sandbox/users/{email}"
        return [
            Route("/_sandbox/users", self.list_users),
            Route("/_sandbox/users", self.create_user, methods=["POST"]),
            Route(user, self.get_user),
            Route(user, self.change_user, methods=["PATCH"]),
            Route(user, self.remove_user, methods=["DELETE"]),
            Route(f"{user}/settings", self.get_settings),
            Route(f"{user}/settings", self.put_settings, methods=["PUT"]),
            Route(f"{user}/tokens/expire", self.expire_tokens, methods=["POST"]),
            Route(f"{user}/revoke", self.revoke, methods=["POST"]),
            Route(f"{user}/password", self.change_password, methods=["POST"]),
            Route("/_sandbox/clients", self.list_clients),
            Route("/_sandbox/clients/{client_id}", self.put_client, methods=["PUT"]),
            Route("/_sandbox/clock", self.get_clock),
            Route("/_sandbox/clock/advance", self.advance_clock, methods=["POST"]),
            Route("/_sandbox/keys/rotate", self.rotate_keys, methods=["POST"]),
        ]

    async def list_users(self, _: Request) -> Response:
        """Return every user."""
        return JSONResponse({"users": [self._describe(user) for user in self._users.all()]})

    async def create_user(self, request: Request) -> Response:
        """Create a user. 201 with the user; 409 if the address is taken."""
        body = await read_body(request, NewUser)
        try:
            user = self._users.add_user(
                body.email, name=body.name, email_verified=body.email_verified, hd=body.hd, send_as=body.send_as
            )
        except UserExistsError as error:
            raise ControlError(409, str(error)) from error
        if body.messages:
            self._mailboxes.populate(user, messages=body.messages, seed=body.seed, ugly=body.ugly)
        return JSONResponse(self._describe(user), 201)

    async def get_user(self, request: Request) -> Response:
        """Return one user."""
        return JSONResponse(self._describe(self._user(request)))

    async def change_user(self, request: Request) -> Response:
        """Change attributes, `email` included; `sub` never changes."""
        user = self._user(request)
        changes = (await read_body(request, UserChange)).model_dump(exclude_unset=True)
        try:
            return JSONResponse(self._describe(self._users.change_user(user.sub, changes)))
        except UserExistsError as error:
            raise ControlError(409, str(error)) from error

    async def remove_user(self, request: Request) -> Response:
        """Delete the account with its tokens, its watch and its mail."""
        user = self._user(request)
        for grants in self._grants:
            grants.revoke(user.sub)
        self._users.remove_user(user.sub)
        self._push.forget(user.sub)
        self._mailboxes.drop(user)
        return Response(status_code=204)

    async def get_settings(self, request: Request) -> Response:
        """Return how the user is treated."""
        return JSONResponse(asdict(self._users.deviations(self._user(request).sub)))

    async def put_settings(self, request: Request) -> Response:
        """Replace how the user is treated."""
        user = self._user(request)
        body = await read_body(request, DeviationsBody)
        self._users.set_deviations(user.sub, Deviations(**body.model_dump()))
        return JSONResponse(body.model_dump())

    async def expire_tokens(self, request: Request) -> Response:
        """Expire the user's access tokens; refresh tokens stay valid."""
        sub = self._user(request).sub
        return JSONResponse({"expired": sum(grants.expire_access_tokens(sub) for grants in self._grants)})

    async def revoke(self, request: Request) -> Response:
        """End all grants, as the user can in the account's security settings."""
        sub = self._user(request).sub
        for grants in self._grants:
            grants.revoke(sub)
        return Response(status_code=204)

    async def change_password(self, request: Request) -> Response:
        """End what a new password ends: at Google refresh tokens with mail scopes, at Yandex everything."""
        sub = self._user(request).sub
        return JSONResponse({"revoked": sum(grants.end_by_password(sub) for grants in self._grants)})

    async def list_clients(self, _: Request) -> Response:
        """Return every client, without its secret."""
        return JSONResponse({"clients": [_describe_client(client) for client in self._clients.all()]})

    async def put_client(self, request: Request) -> Response:
        """Create or replace a client."""
        body = await read_body(request, ClientBody)
        client = Client(
            client_id=request.path_params["client_id"],
            secret=body.client_secret,
            redirect_uris=frozenset(body.redirect_uris),
            name=body.name,
            deleted=body.deleted,
        )
        self._clients.put(client)
        return JSONResponse(_describe_client(client))

    async def get_clock(self, _: Request) -> Response:
        """Return the sandbox's time in epoch seconds."""
        return JSONResponse({"now": self._clock.now()})

    async def advance_clock(self, request: Request) -> Response:
        """Move the clock forward."""
        self._clock.advance((await read_body(request, Advance)).seconds)
        return JSONResponse({"now": self._clock.now()})

    async def rotate_keys(self, request: Request) -> Response:
        """Change the signing key. Returns the `kid` of the new one."""
        body = await read_body(request, Rotation)
        return JSONResponse({"kid": self._users.keys.rotate(announced=body.announced, keep_old=body.keep_old)})

    def _user(self, request: Request) -> User:
        return user_of_path(request, self._users)

    def _describe(self, user: User) -> dict[str, object]:
        return {**asdict(user), "messages": self._mailboxes.count(user)}


def _describe_client(client: Client) -> dict[str, object]:
    return {
        "client_id": client.client_id,
        "redirect_uris": sorted(client.redirect_uris),
        "name": client.name,
        "deleted": client.deleted,
    }
