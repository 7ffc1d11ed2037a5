"""Control API over the behaviour of Yandex, below `/_sandbox/`."""

from dataclasses import asdict
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox.control.json_body import ControlBody, read_body
from services.sandbox.control.path_user import user_of_path
from services.sandbox.mailboxes.user import User, UserDirectory
from services.sandbox.yandex.rules import AllRules, UserRules


class RulesBody(ControlBody):
    """Behaviour for all users; absent fields keep their values."""

    token_lifetime: float = Field(default=1.0, ge=1, le=10 * 366 * 86_400)
    renew_below: float = Field(default=0.0, ge=0)
    device_cap: int = Field(default=20, ge=1)
    same_device: Literal["replaces", "adds"] = "replaces"
    refresh_needs_secret: bool = True


class UserRulesBody(ControlBody):
    """Treatment of a user; absent fields take their defaults."""

    imap: bool = True
    authorize_error: str | None = Field(default=None, pattern=r"^[a-z_]+$")


class YandexControl:
    """Handlers for the rules of all users, and of each."""

    def __init__(self, *, users: UserDirectory, rules: AllRules) -> None:
        self._users = users
        self._rules = rules

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        user = "/_sandbox/users/{email}/yandex"
        return [
            Route("/_sandbox/yandex", self.get_rules),
            Route("/_sandbox/yandex", self.patch_rules, methods=["PATCH"]),
            Route(user, self.get_user_rules),
            Route(user, self.put_user_rules, methods=["PUT"]),
        ]

    async def get_rules(self, _: Request) -> Response:
        """Return the behaviour for all users."""
        return JSONResponse(asdict(self._rules.common))

    async def patch_rules(self, request: Request) -> Response:
        """Change the behaviour for all users; only fields of the body change."""
        for name, value in (await read_body(request, RulesBody)).model_dump(exclude_unset=True).items():
            setattr(self._rules.common, name, value)
        return JSONResponse(asdict(self._rules.common))

    async def get_user_rules(self, request: Request) -> Response:
        """Return how the user is treated."""
        return JSONResponse(asdict(self._rules.of(self._user(request).sub)))

    async def put_user_rules(self, request: Request) -> Response:
        """Replace how the user is treated."""
        user = self._user(request)
        body = await read_body(request, UserRulesBody)
        self._rules.put(user.sub, UserRules(**body.model_dump()))
        return JSONResponse(body.model_dump())

    def _user(self, request: Request) -> User:
        return user_of_path(request, self._users)
