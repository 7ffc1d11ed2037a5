"""The authorization endpoint: responds with a page, or redirects with a code or an error."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.sandbox.mailboxes.user import User, UserDirectory
from services.sandbox.oauth.clients import Clients
from services.sandbox.yandex.authorization_request import (
    AuthorizationRequest,
    PageError,
    RedirectError,
    read_request,
)
from services.sandbox.yandex.grants import Approval, YandexGrants
from services.sandbox.yandex.pages import Pages
from services.sandbox.yandex.rules import AllRules

ACCOUNT_COOKIE = "sandbox_yandex_account"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # No form-action: it would also apply to the redirect after the form, to the client's address.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}


@dataclass(frozen=True, slots=True)
class _PageInput:
    account: str | None = None
    decision: str | None = None
    # The optional scopes that were ticked; None: no boxes were shown.
    ticked: frozenset[str] | None = None


class AuthorizationEndpoint:
    """Yandex's consent flow, for a browser or for a single form post.

    `account` and `decision=allow|deny` in the body of a POST to the authorization URL answer both pages at once;
    without `scope` fields all optional scopes are granted.
    """

    def __init__(
        self, *, users: UserDirectory, clients: Clients, grants: YandexGrants, rules: AllRules, pages: Pages
    ) -> None:
        self._users = users
        self._clients = clients
        self._grants = grants
        self._rules = rules
        self._pages = pages

    async def respond(self, request: Request) -> Response:
        """Respond to one GET or POST."""
        try:
            wanted = read_request(dict(request.query_params), clients=self._clients)
            given = _read_page_input(await request.body()) if request.method == "POST" else _PageInput()
            return self._proceed(wanted, given, cookie=request.cookies.get(ACCOUNT_COOKIE, ""))
        except PageError as problem:
            return self._page(self._pages.error(str(problem)), status=400)
        except RedirectError as problem:
            error = {"error": problem.error, "error_description": problem.description}
            return _redirect(problem.redirect_uri, problem.state, error)

    def _proceed(self, wanted: AuthorizationRequest, given: _PageInput, *, cookie: str) -> Response:
        if given.decision == "deny":
            denied = {"error": "access_denied", "error_description": "User denied access to the application"}
            return _redirect(wanted.redirect_uri, wanted.state, denied)
        signed_in = None if wanted.force_confirm else self._users.find_sub(cookie)
        user = self._users.find_user(given.account or "") or signed_in
        if user is None:
            page = self._pages.choose_account(wanted, self._users.all(), unknown=given.account)
            return self._page(page, status=200 if given.account is None else 400)
        granted = self._grants.granted(user.sub, wanted.client.client_id)
        if given.decision == "allow" or (not wanted.force_confirm and wanted.scopes | wanted.optional <= granted):
            return self._grant(wanted, user, ticked=given.ticked)
        return self._page(self._pages.consent(wanted, user))

    def _grant(self, wanted: AuthorizationRequest, user: User, *, ticked: frozenset[str] | None) -> Response:
        error = self._rules.of(user.sub).authorize_error
        if error is not None:
            return _redirect(wanted.redirect_uri, wanted.state, {"error": error, "error_description": error})
        optional = wanted.optional if ticked is None else wanted.optional & ticked
        code = self._grants.issue_code(
            Approval(
                sub=user.sub,
                client_id=wanted.client.client_id,
                scopes=wanted.scopes | optional,
                requested=wanted.scopes | wanted.optional,
                device_id=wanted.device_id,
                code_challenge=wanted.code_challenge,
                code_challenge_method=wanted.code_challenge_method,
            )
        )
        # Undocumented parameters come along in practice.
        answer = _redirect(wanted.redirect_uri, wanted.state, {"code": code, "cid": user.sub[-12:]})
        answer.set_cookie(ACCOUNT_COOKIE, user.sub, httponly=True, samesite="lax")
        return answer

    @staticmethod
    def _page(html: str, *, status: int = 200) -> HTMLResponse:
        return HTMLResponse(html, status, headers=_HEADERS)


def _redirect(redirect_uri: str, state: str | None, parameters: dict[str, str]) -> RedirectResponse:
    first = {} if state is None else {"state": state}
    joint = "&" if "?" in redirect_uri else "?"
    # 303 keeps a browser from posting the form again, to the client (RFC 9700 section 4.12).
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(first | parameters)}", 303, headers={**_HEADERS})


def _read_page_input(body: bytes) -> _PageInput:
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    decision = fields.get("decision", [""])[-1] or None
    if decision not in (None, "allow", "deny"):
        raise PageError("decision must be allow or deny")
    ticked = frozenset(scope for value in fields["scope"] for scope in value.split()) if "scope" in fields else None
    return _PageInput(fields.get("account", [""])[-1].strip() or None, decision, ticked)
