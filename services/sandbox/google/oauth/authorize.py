"""The authorization endpoint: from a request to a page, or to a redirect with a code or an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.sandbox.google.oauth.authorization_request import AuthorizeRequest, PageError, read_request
from services.sandbox.google.oauth.clients import Clients
from services.sandbox.google.oauth.consent import ConsentPages
from services.sandbox.google.oauth.grants import Approval
from services.sandbox.google.oauth.scopes import SIGN_IN_SCOPES, callback_scope, canonical
from services.sandbox.google.oauth.users import SandboxUsers, User

ACCOUNT_COOKIE = "sandbox_account"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # No form-action: it would also bind where the browser is sent after the form, which is the client's address.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the user sent from a page: an account, and after the consent page a decision and the ticked scopes."""

    account: str | None = None
    decision: str | None = None
    scopes: tuple[str, ...] | None = None


class AuthorizationEndpoint:
    """Google's consent, for a person with a browser or for one form post.

    `account` and `decision=allow|deny` in the body of a POST to the authorization URL answer both pages at once;
    without `scope` fields everything requested is granted.
    """

    def __init__(self, *, identity: SandboxUsers, clients: Clients, pages: ConsentPages) -> None:
        self._identity = identity
        self._clients = clients
        self._pages = pages

    async def respond(self, request: Request) -> Response:
        """Answer one GET or POST."""
        try:
            query = parse_qs(request.url.query, keep_blank_values=True)
            asked = read_request(query, clients=self._clients)
            answer = _read_answer(await request.body()) if request.method == "POST" else _Answer()
            return self._proceed(asked, answer, cookie=request.cookies.get(ACCOUNT_COOKIE))
        except PageError as problem:
            return self._page(self._pages.error(problem.error, problem.description), status=problem.status)

    def _proceed(self, asked: AuthorizeRequest, answer: _Answer, *, cookie: str | None) -> Response:
        if answer.decision == "deny":
            return self._redirect(asked, {"error": "access_denied"}, user=self._named(answer.account))
        if "none" in asked.prompts:
            return self._proceed_silently(asked, cookie=cookie)
        name = answer.account or (None if "select_account" in asked.prompts else asked.login_hint)
        user = self._named(name)
        if user is None:
            return self._choose_account(asked, unknown=answer.account)
        if answer.decision == "allow":
            return self._approve(asked, user, answer.scopes)
        if self._must_ask(asked, user):
            return self._page(self._pages.consent(asked, user))
        return self._grant(asked, user, scopes=asked.scopes, consent_shown=False)

    def _proceed_silently(self, asked: AuthorizeRequest, *, cookie: str | None) -> Response:
        user = self._named(asked.login_hint) if asked.login_hint else self._identity.find_sub(cookie or "")
        if user is None:
            return self._redirect(asked, {"error": "login_required"})
        if self._must_ask(asked, user):
            return self._redirect(asked, {"error": "consent_required"}, user=user)
        return self._grant(asked, user, scopes=asked.scopes, consent_shown=False)

    def _choose_account(self, asked: AuthorizeRequest, *, unknown: str | None) -> Response:
        users = [user for user in self._identity.users() if _fits_domain(user, asked.hosted_domain)]
        page = self._pages.choose_account(asked, users, unknown=unknown)
        return self._page(page, status=200 if unknown is None else 400)

    def _must_ask(self, asked: AuthorizeRequest, user: User) -> bool:
        granted = self._identity.grants.granted(user.sub, asked.client.client_id)
        return "consent" in asked.prompts or not asked.scopes <= granted

    def _approve(self, asked: AuthorizeRequest, user: User, ticked: Sequence[str] | None) -> Response:
        refusal = self._identity.deviations(user.sub).authorize_error
        if refusal is not None:
            return self._redirect(asked, {"error": refusal}, user=user)
        if ticked is None:
            consent_shown = self._must_ask(asked, user)
            return self._grant(asked, user, scopes=asked.scopes, consent_shown=consent_shown)
        chosen = {canonical(scope) for scope in ticked}
        scopes = frozenset(scope for scope in asked.scopes if scope in SIGN_IN_SCOPES or scope in chosen)
        if not scopes:
            return self._redirect(asked, {"error": "access_denied"}, user=user)
        return self._grant(asked, user, scopes=scopes, consent_shown=True)

    def _grant(
        self, asked: AuthorizeRequest, user: User, *, scopes: frozenset[str], consent_shown: bool
    ) -> RedirectResponse:
        grants = self._identity.grants
        if asked.include_granted:
            scopes |= grants.granted(user.sub, asked.client.client_id)
        approval = Approval(
            sub=user.sub,
            client_id=asked.client.client_id,
            redirect_uri=asked.redirect_uri,
            scopes=scopes,
            offline=asked.offline,
            consent_shown=consent_shown,
            nonce=asked.nonce,
            code_challenge=asked.code_challenge,
            code_challenge_method=asked.code_challenge_method,
        )
        code = grants.issue_code(approval, testing=self._identity.deviations(user.sub).testing)
        params = {"code": code, "scope": callback_scope(scopes), "authuser": "0"}
        if user.hd:
            params["hd"] = user.hd
        params["prompt"] = "consent" if consent_shown else "none"
        answer = self._redirect(asked, params, user=user)
        answer.set_cookie(ACCOUNT_COOKIE, user.sub, httponly=True, samesite="lax")
        return answer

    def _redirect(
        self, asked: AuthorizeRequest, params: dict[str, str], *, user: User | None = None
    ) -> RedirectResponse:
        first = {"state": asked.state} if asked.state is not None else {}
        if user is None or self._identity.deviations(user.sub).iss:
            first["iss"] = self._identity.issuer
        joint = "&" if "?" in asked.redirect_uri else "?"
        url = f"{asked.redirect_uri}{joint}{urlencode(first | params)}"
        # 303 keeps a browser from posting the form again, to the client (RFC 9700 section 4.12).
        return RedirectResponse(url, status_code=303, headers={**_HEADERS})

    def _named(self, name: str | None) -> User | None:
        if not name:
            return None
        return self._identity.find_user(name) or self._identity.find_sub(name)

    @staticmethod
    def _page(html: str, *, status: int = 200) -> HTMLResponse:
        return HTMLResponse(html, status, headers=_HEADERS)


def _read_answer(body: bytes) -> _Answer:
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    decision = fields.get("decision", [""])[-1] or None
    if decision not in (None, "allow", "deny"):
        raise PageError("invalid_request", "decision must be allow or deny")
    ticked = [scope for value in fields["scope"] for scope in value.split()] if "scope" in fields else None
    account = fields.get("account", [""])[-1].strip() or None
    return _Answer(account, decision, None if ticked is None else tuple(ticked))


def _fits_domain(user: User, domain: str | None) -> bool:
    return domain is None or (user.hd is not None and domain in ("*", user.hd))
