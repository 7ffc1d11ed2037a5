"""Routes of Yandex ID, below `/yandex`: one origin serves all providers, and paths of Google's are the same."""

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.instruments.faults import Fault, FaultPlan, respond_with_fault
from services.sandbox.mailboxes.user import UserDirectory
from services.sandbox.oauth.forms import Form, read_form
from services.sandbox.yandex.authorize import AuthorizationEndpoint
from services.sandbox.yandex.grants import YandexGrants
from services.sandbox.yandex.token_endpoint import TokenEndpoint, TokenError
from services.sandbox.yandex.userinfo import userinfo

type Observe = Callable[[str, str | None, int], None]
type Respond = Callable[[Form, str | None], dict[str, object]]


def _json(body: object, *, status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _fault_body(fault: Fault) -> Response:
    error = "server_error" if fault.reason == "backendError" else fault.reason
    return _json({"error": error, "error_description": fault.message}, status=fault.status)


class YandexRoutes:
    """Handlers of Yandex ID; each draws from the fault plan first."""

    def __init__(
        self,
        *,
        users: UserDirectory,
        authorization: AuthorizationEndpoint,
        tokens: TokenEndpoint,
        grants: YandexGrants,
        faults: FaultPlan,
        observe: Observe,
    ) -> None:
        self._users = users
        self._authorization = authorization
        self._tokens = tokens
        self._grants = grants
        self._faults = faults
        self._observe = observe

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/yandex/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/yandex/token", self.token, methods=["POST"]),
            Route("/yandex/revoke_token", self.revoke_token, methods=["POST"]),
            Route("/yandex/info", self.info),
        ]

    async def authorize(self, request: Request) -> Response:
        """Show pages, and redirect at their end."""
        return await self._guard("yandex.authorize", None, lambda: self._authorization.respond(request))

    async def token(self, request: Request) -> Response:
        """Exchange a code or a refresh token."""
        return await self._answer(
            "yandex.token", request, lambda form, header: self._tokens.answer(form, authorization=header)
        )

    async def revoke_token(self, request: Request) -> Response:
        """End a device's token."""
        return await self._answer(
            "yandex.revoke_token", request, lambda form, header: self._tokens.revoke(form, authorization=header)
        )

    async def info(self, request: Request) -> Response:
        """Respond with userinfo to a token in the scheme `OAuth`; `Bearer` is refused like a dead token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        pair = self._grants.find_access(token.strip()) if scheme.lower() == "oauth" else None
        user = self._users.find_sub(pair.sub) if pair else None

        async def respond() -> Response:
            if pair is None or user is None:
                return Response(status_code=401)
            if request.query_params.get("format", "json") != "json":
                return _json({"error": "invalid_request", "error_description": "only format=json here"}, status=400)
            return _json(userinfo(user, pair))

        return await self._guard("yandex.info", user.email if user else None, respond)

    async def _answer(self, method: str, request: Request, answer: Respond) -> Response:
        form = await read_form(request)

        async def respond() -> Response:
            try:
                return _json(answer(form, request.headers.get("authorization")))
            except TokenError as refusal:
                return _json(refusal.body, status=refusal.status)

        return await self._guard(method, self._tokens.email_of(form), respond)

    async def _guard(self, method: str, email: str | None, respond: Callable[[], Awaitable[Response]]) -> Response:
        answer = await respond_with_fault(
            self._faults, self._faults.draw(method, email), respond, render_error=_fault_body
        )
        self._observe(method, email, answer.status_code)
        return answer
