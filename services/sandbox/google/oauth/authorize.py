"""The authorization endpoint: responds with a page, or redirects with a code or an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.sandbox.google.oauth.authorization_request import AuthorizationRequest, PageError, read_request
from services.sandbox.google.oauth.consent import ConsentPages
from services.sandbox.google.oauth.grants import Approval
from services.sandbox.google.oauth.scopes import SIGN_IN_SCOPES, callback_scope, canonical
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.mailboxes.user import User
from services.sandbox.oauth.clients import Clients

ACCOUNT_COOKIE = "sandbox_account"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # No form-action: it would also apply to the redirect after the form, to the client's address.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}


@dataclass(frozen=True, slots=True)
class _PageInput:
    """Input from a page: an account, and from the consent page a decision and the ticked scopes."""

    account: str | None = None
    decision: str | None = None
    scopes: tuple[str, ...] | None = None


class AuthorizationEndpoint:
    """Google's consent flow, for a browser or for a single form post.

    `account` and `decision=allow|deny` in the body of a POST to the authorization URL answer both pages at once;
    without `scope` fields all requested scopes are granted.
    """

    def __init__(self, *, users: SandboxUsers, clients: Clients, pages: ConsentPages) -> None:
        self._users = users
        self._clients = clients
        self._pages = pages

    async def respond(self, request: Request) -> Response:
        """Respond to one GET or POST."""
        try:
            query = parse_qs(request.url.query, keep_blank_values=True)
            wanted = read_request(query, clients=self._clients)
            given = _read_page_input(await request.body()) if request.method == "POST" else _PageInput()
            return self._proceed(wanted, given, cookie=request.cookies.get(ACCOUNT_COOKIE))
        except PageError as problem:
            return self._page(self._pages.error(problem.error, problem.description), status=problem.status)

    def _proceed(self, wanted: AuthorizationRequest, given: _PageInput, *, cookie: str | None) -> Response:
        if given.decision == "deny":
            return self._redirect(wanted, {"error": "access_denied"}, user=self._find_account(given.account))
        if "none" in wanted.prompts:
            return self._proceed_without_pages(wanted, cookie=cookie)
        name = given.account or (None if "select_account" in wanted.prompts else wanted.login_hint)
        user = self._find_account(name)
        if user is None:
            return self._choose_account(wanted, unknown=given.account)
        if given.decision == "allow":
            return self._approve(wanted, user, given.scopes)
        if self._needs_consent(wanted, user):
            return self._page(self._pages.consent(wanted, user))
        return self._grant(wanted, user, scopes=wanted.scopes, consent_shown=False)

    def _proceed_without_pages(self, wanted: AuthorizationRequest, *, cookie: str | None) -> Response:
        user = self._find_account(wanted.login_hint) if wanted.login_hint else self._users.find_sub(cookie or "")
        if user is None:
            return self._redirect(wanted, {"error": "login_required"})
        if self._needs_consent(wanted, user):
            return self._redirect(wanted, {"error": "consent_required"}, user=user)
        return self._grant(wanted, user, scopes=wanted.scopes, consent_shown=False)

    def _choose_account(self, wanted: AuthorizationRequest, *, unknown: str | None) -> Response:
        users = [user for user in self._users.all() if _fits_domain(user, wanted.hosted_domain)]
        page = self._pages.choose_account(wanted, users, unknown=unknown)
        return self._page(page, status=200 if unknown is None else 400)

    def _needs_consent(self, wanted: AuthorizationRequest, user: User) -> bool:
        granted = self._users.grants.granted(user.sub, wanted.client.client_id)
        return "consent" in wanted.prompts or not wanted.scopes <= granted

    def _approve(self, wanted: AuthorizationRequest, user: User, ticked: Sequence[str] | None) -> Response:
        refusal = self._users.deviations(user.sub).authorize_error
        if refusal is not None:
            return self._redirect(wanted, {"error": refusal}, user=user)
        if ticked is None:
            consent_shown = self._needs_consent(wanted, user)
            return self._grant(wanted, user, scopes=wanted.scopes, consent_shown=consent_shown)
        chosen = {canonical(scope) for scope in ticked}
        scopes = frozenset(scope for scope in wanted.scopes if scope in SIGN_IN_SCOPES or scope in chosen)
        if not scopes:
            return self._redirect(wanted, {"error": "access_denied"}, user=user)
        return self._grant(wanted, user, scopes=scopes, consent_shown=True)

    def _grant(
        self, wanted: AuthorizationRequest, user: User, *, scopes: frozenset[str], consent_shown: bool
    ) -> RedirectResponse:
        grants = self._users.grants
        if wanted.include_granted:
            scopes |= grants.granted(user.sub, wanted.client.client_id)
        approval = Approval(
            sub=user.sub,
            client_id=wanted.client.client_id,
            redirect_uri=wanted.redirect_uri,
            scopes=scopes,
            offline=wanted.offline,
            consent_shown=consent_shown,
            nonce=wanted.nonce,
            code_challenge=wanted.code_challenge,
            code_challenge_method=wanted.code_challenge_method,
        )
        code = grants.issue_code(approval, testing=self._users.deviations(user.sub).testing)
        params = {"code": code, "scope": callback_scope(scopes), "authuser": "0"}
        if user.hd:
            params["hd"] = user.hd
        params["prompt"] = "consent" if consent_shown else "none"
        answer = self._redirect(wanted, params, user=user)
        answer.set_cookie(ACCOUNT_COOKIE, user.sub, httponly=True, samesite="lax")
        return answer

    def _redirect(
        self, wanted: AuthorizationRequest, params: dict[str, str], *, user: User | None = None
    ) -> RedirectResponse:
        first = {"state": wanted.state} if wanted.state is not None else {}
        if user is None or self._users.deviations(user.sub).iss:
            first["iss"] = self._users.issuer
        joint = "&" if "?" in wanted.redirect_uri else "?"
        url = f"{wanted.redirect_uri}{joint}{urlencode(first | params)}"
        # 303 keeps a browser from posting the form again, to the client (RFC 9700 section 4.12).
        return RedirectResponse(url, status_code=303, headers={**_HEADERS})

    def _find_account(self, name: str | None) -> User | None:
        if not name:
            return None
        return self._users.find_user(name) or self._users.find_sub(name)

    @staticmethod
    def _page(html: str, *, status: int = 200) -> HTMLResponse:
        return HTMLResponse(html, status, headers=_HEADERS)


def _read_page_input(body: bytes) -> _PageInput:
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    decision = fields.get("decision", [""])[-1] or None
    if decision not in (None, "allow", "deny"):
        raise PageError("invalid_request", "decision must be allow or deny")
    ticked = [scope for value in fields["scope"] for scope in value.split()] if "scope" in fields else None
    account = fields.get("account", [""])[-1].strip() or None
    return _PageInput(account, decision, None if ticked is None else tuple(ticked))


def _fits_domain(user: User, domain: str | None) -> bool:
    return domain is None or (user.hd is not None and domain in ("*", user.hd))
