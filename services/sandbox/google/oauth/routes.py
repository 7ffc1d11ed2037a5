"""Routes of OAuth 2.0 and OpenID Connect at Google's paths."""

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.google.oauth.authorize import AuthorizationEndpoint
from services.sandbox.google.oauth.consent import avatar_svg
from services.sandbox.google.oauth.discovery import discovery_document
from services.sandbox.google.oauth.grants import project_of
from services.sandbox.google.oauth.token_endpoint import TokenEndpoint, TokenError
from services.sandbox.google.oauth.userinfo import UserInfoEndpoint
from services.sandbox.google.oauth.users import Access, SandboxUsers
from services.sandbox.instruments.faults import Fault, FaultPlan, respond_with_fault
from services.sandbox.mailboxes.user import User
from services.sandbox.oauth.forms import Form, read_form

_PRIVATE = {"Cache-Control": "no-cache, no-store, max-age=0, must-revalidate", "Pragma": "no-cache"}
_JWKS_CACHE = {"Cache-Control": "public, max-age=20000, must-revalidate, no-transform"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'}

Facts = Callable[[Access], dict[str, object] | None]
Observe = Callable[[str, str | None, int], None]
"""Listener of calls: name as in fault plans, the user's address if known, status of the response."""


def _json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return Response(text, status, headers=headers or _PRIVATE, media_type="application/json; charset=utf-8")


def _oauth_error(error: str, description: str, *, status: int = 400, headers: dict[str, str] | None = None) -> Response:
    return _json({"error": error, "error_description": description}, status=status, headers=headers)


def _fault_body(fault: Fault) -> Response:
    reason = "internal_failure" if fault.reason == "backendError" else fault.reason
    return _oauth_error(reason, fault.message, status=fault.status)


def _presented_token(request: Request, form: Form) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.query_params.get("access_token") or form.get("access_token", "")


class OAuthRoutes:
    """Handlers of OAuth 2.0 and OpenID Connect; each draws from the fault plan first."""

    def __init__(
        self,
        *,
        users: SandboxUsers,
        authorization: AuthorizationEndpoint,
        tokens: TokenEndpoint,
        userinfo: UserInfoEndpoint,
        faults: FaultPlan,
        observe: Observe,
    ) -> None:
        self._users = users
        self._authorization = authorization
        self._tokens = tokens
        self._userinfo = userinfo
        self._faults = faults
        self._observe = observe

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/o/oauth2/v2/auth", self.authorize, methods=["GET", "POST"]),
            Route("/token", self.token, methods=["POST"]),
            Route("/revoke", self.revoke, methods=["GET", "POST"]),
            Route("/v1/userinfo", self.userinfo, methods=["GET", "POST"]),
            Route("/oauth2/v2/userinfo", self.userinfo_v2),
            Route("/userinfo/v2/me", self.userinfo_v2),
            Route("/tokeninfo", self.tokeninfo, methods=["GET", "POST"]),
            Route("/oauth2/v2/tokeninfo", self.tokeninfo_v2, methods=["GET", "POST"]),
            Route("/oauth2/v1/certs", self.pem_certs),
            Route("/oauth2/v3/certs", self.certs),
            Route("/.well-known/openid-configuration", self.discovery),
            Route("/avatars/{sub}.svg", self.avatar),
        ]

    async def authorize(self, request: Request) -> Response:
        """Show consent pages, and redirect at their end."""
        return await self._guard("oauth.authorize", None, lambda: self._authorization.respond(request))

    async def token(self, request: Request) -> Response:
        """Exchange a code or a refresh token."""
        form = await read_form(request)

        async def respond() -> Response:
            try:
                return _json(self._tokens.answer(form, authorization=request.headers.get("authorization")))
            except TokenError as refusal:
                return _json(refusal.body, status=refusal.status)

        return await self._guard("oauth.token", self._tokens.user_of(form), respond)

    async def revoke(self, request: Request) -> Response:
        """End the whole grant of a token."""
        form = await read_form(request)
        token = form.get("token") or request.query_params.get("token", "")
        holder = self._users.grants.holder(token)

        async def respond() -> Response:
            if not token:
                return _oauth_error("invalid_request", "Missing required parameter: token")
            if holder is None:
                return _oauth_error("invalid_token", "Token expired or revoked")
            self._users.grants.revoke(holder[0], project=project_of(holder[1]))
            return _json({})

        return await self._guard("oauth.revoke", self._users.find_sub(holder[0]) if holder else None, respond)

    async def userinfo(self, request: Request) -> Response:
        """Respond with OIDC userinfo."""
        return await self._answer_userinfo(request, self._userinfo.userinfo)

    async def userinfo_v2(self, request: Request) -> Response:
        """Respond with legacy userinfo."""
        return await self._answer_userinfo(request, self._userinfo.userinfo_v2)

    async def tokeninfo(self, request: Request) -> Response:
        """Describe an access token or an ID token."""
        form = await read_form(request)
        id_token = request.query_params.get("id_token") or form.get("id_token")

        async def respond() -> Response:
            token = _presented_token(request, form)
            facts = self._userinfo.id_tokeninfo(id_token) if id_token else self._userinfo.tokeninfo(token)
            return _json(facts) if facts else _oauth_error("invalid_token", "Invalid Value")

        return await self._guard("oauth.tokeninfo", None, respond)

    async def tokeninfo_v2(self, request: Request) -> Response:
        """Describe an access token in the legacy form."""
        form = await read_form(request)

        async def respond() -> Response:
            facts = self._userinfo.tokeninfo_v2(_presented_token(request, form))
            return _json(facts) if facts else _oauth_error("invalid_token", "Invalid Value")

        return await self._guard("oauth.tokeninfo", None, respond)

    async def certs(self, _: Request) -> Response:
        """Respond with the JWK set."""

        async def respond() -> Response:
            return _json(self._users.keys.public_set(), headers=_JWKS_CACHE)

        return await self._guard("oauth.jwks", None, respond)

    async def pem_certs(self, _: Request) -> Response:
        """Respond with the same keys as certificates, which Google's library for Node reads."""

        async def respond() -> Response:
            return _json(self._users.certificates(), headers=_JWKS_CACHE)

        return await self._guard("oauth.jwks", None, respond)

    async def discovery(self, _: Request) -> Response:
        """Respond with the discovery document."""

        async def respond() -> Response:
            # Announce `iss` only while it is on for every user.
            promised = all(self._users.deviations(user.sub).iss for user in self._users.all())
            document = discovery_document(self._users.issuer, iss_parameter=promised)
            return _json(document, headers={"Cache-Control": "public, max-age=3600"})

        return await self._guard("oauth.discovery", None, respond)

    async def avatar(self, request: Request) -> Response:
        """Respond with the picture that the `picture` claim points to."""
        user = self._users.find_sub(request.path_params["sub"])
        if user is None:
            return Response(status_code=404)
        return Response(avatar_svg(user), media_type="image/svg+xml")

    async def _answer_userinfo(self, request: Request, facts: Facts) -> Response:
        form = await read_form(request) if request.method == "POST" else {}
        access = self._users.check_access(_presented_token(request, form))

        async def respond() -> Response:
            if access is None:
                return _oauth_error("invalid_request", "Invalid Credentials", status=401, headers=_CHALLENGE)
            body = facts(access)
            if body is None:
                return _oauth_error("insufficient_scope", "Insufficient Permission", status=403, headers=_CHALLENGE)
            return _json(body)

        return await self._guard("oauth.userinfo", access.user if access else None, respond)

    async def _guard(self, method: str, user: User | None, respond: Callable[[], Awaitable[Response]]) -> Response:
        email = user.email if user else None
        answer = await respond_with_fault(
            self._faults, self._faults.draw(method, email), respond, render_error=_fault_body
        )
        self._observe(method, email, answer.status_code)
        return answer
