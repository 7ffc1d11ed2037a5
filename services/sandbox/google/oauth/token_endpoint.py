"""The token endpoint: exchanges codes and refresh tokens for access tokens, with Google's error texts.

Source: RFC 6749 section 5, RFC 7636, and responses of Google's endpoint.
"""

from collections.abc import Mapping

from services.sandbox.clock import Clock
from services.sandbox.google.oauth.grants import Approval
from services.sandbox.google.oauth.grants_file import RefreshToken
from services.sandbox.google.oauth.scopes import OPENID, canonical, token_scope
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.mailboxes.user import User
from services.sandbox.oauth.clients import Client, Clients
from services.sandbox.oauth.forms import MalformedHeaderError, basic_credentials
from services.sandbox.oauth.pkce import proves

Form = Mapping[str, str]


class TokenError(Exception):
    """An error response of the token endpoint."""

    def __init__(self, error: str, description: str, *, status: int = 400, subtype: str | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}
        if subtype is not None:
            self.body["error_subtype"] = subtype


class TokenEndpoint:
    """Serves `grant_type` authorization_code and refresh_token."""

    def __init__(self, *, users: SandboxUsers, clients: Clients, clock: Clock) -> None:
        self._users = users
        self._grants = users.grants
        self._clients = clients
        self._clock = clock

    def user_of(self, form: Form) -> User | None:
        """Return the user of the code or refresh token in a request, or None."""
        holder = self._grants.peek_code(form.get("code", "")) or self._grants.find_refresh(
            form.get("refresh_token", "")
        )
        return self._users.find_sub(holder.sub) if holder else None

    def answer(self, form: Form, *, authorization: str | None = None) -> dict[str, object]:
        """Return the token response to a form. Raises TokenError."""
        grant_type = form.get("grant_type")
        if not grant_type:
            raise TokenError("invalid_request", "Missing required parameter: grant_type")
        if grant_type not in ("authorization_code", "refresh_token"):
            raise TokenError("unsupported_grant_type", f"Invalid grant_type: {grant_type}")
        client = self._authenticate(form, authorization)
        return self._exchange(form, client) if grant_type == "authorization_code" else self._refresh(form, client)

    def _authenticate(self, form: Form, authorization: str | None) -> Client:
        client_id, secret = _credentials(authorization) or (form.get("client_id"), form.get("client_secret"))
        if not client_id:
            raise TokenError("invalid_request", "Could not determine client ID from request.")
        client = self._clients.find(client_id)
        if client is None:
            raise TokenError("invalid_client", "The OAuth client was not found.", status=401)
        if client.deleted:
            raise TokenError("deleted_client", "The OAuth client was deleted.", status=401)
        if not secret:
            raise TokenError("invalid_request", "client_secret is missing.")
        if not client.has_secret(secret):
            raise TokenError("invalid_client", "The provided client secret is invalid.", status=401)
        return client

    def _exchange(self, form: Form, client: Client) -> dict[str, object]:
        code = _required(form, "code")
        redirect_uri = _required(form, "redirect_uri")
        if not code.startswith("4/"):
            raise TokenError("invalid_grant", "Malformed auth code.")
        approval = self._grants.redeem_code(code)
        user = self._users.find_sub(approval.sub) if approval else None
        if approval is None or user is None:
            raise TokenError("invalid_grant", "Bad Request")
        if approval.client_id != client.client_id:
            raise TokenError("unauthorized_client", "Unauthorized", status=401)
        if approval.redirect_uri != redirect_uri:
            raise TokenError("redirect_uri_mismatch", "Bad Request")
        _check_verifier(approval, form.get("code_verifier"))
        return self._tokens(user, approval)

    def _tokens(self, user: User, approval: Approval) -> dict[str, object]:
        held = None
        answer = self._access(
            user,
            approval.client_id,
            approval.scopes,
            offline=approval.offline,
            nonce=approval.nonce,
            auth_time=approval.auth_time,
        )
        if approval.offline and approval.consent_shown:
            cap = self._users.deviations(user.sub).refresh_token_cap
            granted = self._grants.granted(user.sub, approval.client_id)
            refresh_token = self._grants.issue_refresh(
                user.sub, client_id=approval.client_id, scopes=approval.scopes & granted, cap=cap
            )
            answer["refresh_token"] = refresh_token
            held = self._grants.find_refresh(refresh_token)
        return answer | self._limit(held)

    def _refresh(self, form: Form, client: Client) -> dict[str, object]:
        held = self._grants.find_refresh(_required(form, "refresh_token"))
        user = self._users.find_sub(held.sub) if held else None
        if held is None or user is None:
            genuine = form["refresh_token"].startswith("1//")
            raise TokenError("invalid_grant", "Token has been expired or revoked." if genuine else "Bad Request")
        if held.client_id != client.client_id:
            raise TokenError("unauthorized_client", "Unauthorized", status=401)
        if self._users.deviations(user.sub).rapt_required:
            raise TokenError("invalid_grant", "reauth related error (invalid_rapt)", subtype="invalid_rapt")
        scopes = _narrowed(held.scopes, form.get("scope", ""))
        self._grants.use_refresh(held)
        return self._access(user, client.client_id, scopes, offline=True) | self._limit(held)

    def _access(
        self,
        user: User,
        client_id: str,
        scopes: frozenset[str],
        *,
        offline: bool,
        nonce: str | None = None,
        auth_time: int | None = None,
    ) -> dict[str, object]:
        token = self._grants.issue_access(user.sub, client_id=client_id, scopes=scopes, offline=offline)
        answer: dict[str, object] = {
            "access_token": token,
            "expires_in": int(self._grants.access_lifetime),
            "scope": token_scope(scopes),
            "token_type": "Bearer",
        }
        if OPENID in scopes:
            answer["id_token"] = self._users.id_token(
                user, client_id=client_id, scopes=scopes, access_token=token, nonce=nonce, auth_time=auth_time
            )
        if self._users.deviations(user.sub).extra_fields:
            answer["sandbox_unknown_field"] = {"ignore": ["me"]}
        return answer

    def _limit(self, held: RefreshToken | None) -> dict[str, object]:
        if held is None or held.expires_at is None:
            return {}
        return {"refresh_token_expires_in": max(0, int(held.expires_at - self._clock.now()))}


def _required(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise TokenError("invalid_request", f"Missing required parameter: {name}")
    return value


def _credentials(authorization: str | None) -> tuple[str, str] | None:
    try:
        return basic_credentials(authorization)
    except MalformedHeaderError:
        raise TokenError("invalid_client", "Unauthorized", status=401) from None


def _check_verifier(approval: Approval, verifier: str | None) -> None:
    challenge = approval.code_challenge
    if challenge is None:
        if verifier:
            # Accepting it would let an attacker strip the challenge from the first request (RFC 9700 section 2.1.1).
            raise TokenError("invalid_grant", "code_verifier or verifier is not needed.")
        return
    if not verifier:
        raise TokenError("invalid_grant", "Missing code verifier.")
    if not proves(verifier, challenge=challenge, method=approval.code_challenge_method):
        raise TokenError("invalid_grant", "Invalid code verifier.")


def _narrowed(held: frozenset[str], wanted: str) -> frozenset[str]:
    scopes = frozenset(canonical(scope) for scope in wanted.split())
    if not scopes <= held:
        raise TokenError("invalid_scope", "Bad Request")
    return scopes or held
