"""The token and revocation endpoints, with Yandex's error names and texts.

Source: yandex.com/dev/id, "Exchanging a code for a token", "Refreshing a token" and "Token invalidation".
"""

import re

from services.sandbox.clock import Clock
from services.sandbox.mailboxes.user import UserDirectory
from services.sandbox.oauth.clients import Client, Clients
from services.sandbox.oauth.forms import Form, MalformedHeaderError, basic_credentials
from services.sandbox.oauth.pkce import proves
from services.sandbox.yandex.authorization_request import DEVICE_ID
from services.sandbox.yandex.grants import Approval, RefreshExpiredError, YandexGrants
from services.sandbox.yandex.grants_file import TokenPair
from services.sandbox.yandex.rules import AllRules

_CODE = re.compile(r"[a-z0-9]{7,16}")


class TokenError(Exception):
    """An error response: 400, or 401 for a wrong client."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "error_description": description}


class TokenEndpoint:
    """Serves `grant_type` authorization_code and refresh_token, and revocations."""

    def __init__(
        self, *, users: UserDirectory, clients: Clients, grants: YandexGrants, rules: AllRules, clock: Clock
    ) -> None:
        self._users = users
        self._clients = clients
        self._grants = grants
        self._rules = rules
        self._clock = clock

    def email_of(self, form: Form) -> str | None:
        """Return the address of the user whose code or token a request holds, or None."""
        held = (
            self._grants.peek_code(form.get("code", ""))
            or self._grants.find_refresh(form.get("refresh_token", ""))
            or self._grants.find_access(form.get("access_token", ""))
        )
        user = self._users.find_sub(held.sub) if held else None
        return user.email if user else None

    def answer(self, form: Form, *, authorization: str | None) -> dict[str, object]:
        """Return the token response to a form. Raises TokenError."""
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form, authorization)
            case "refresh_token":
                return self._refresh(form, authorization)
            case None | "":
                raise TokenError("invalid_request", "grant_type not passed")
            case _:
                raise TokenError("unsupported_grant_type", "Unsupported grant_type")

    def revoke(self, form: Form, *, authorization: str | None) -> dict[str, object]:
        """End a device's token. Raises TokenError."""
        client = self._authenticate(form, authorization, secret_is_needed=True)
        token = form.get("access_token")
        if not token:
            raise TokenError("invalid_request", "access_token not passed")
        pair = self._grants.find_access(token)
        if pair is None or pair.client_id != client.client_id:
            raise TokenError("invalid_grant", "The token is not valid")
        if pair.device_id is None:
            raise TokenError("unsupported_token_type", "The token was not issued for a device")
        self._grants.end(pair)
        return {"status": "ok"}

    def _exchange(self, form: Form, authorization: str | None) -> dict[str, object]:
        code = form.get("code", "")
        proven_by_pkce = bool(form.get("code_verifier"))
        client = self._authenticate(form, authorization, secret_is_needed=not proven_by_pkce)
        if not code:
            raise TokenError("invalid_request", "code not passed")
        if not _CODE.fullmatch(code):
            raise TokenError("bad_verification_code", "Invalid code")
        approval = self._grants.redeem_code(code)
        if approval is None or approval.client_id != client.client_id:
            raise TokenError("invalid_grant", "Code has expired")
        _check_verifier(approval, form.get("code_verifier"))
        device_id = approval.device_id or form.get("device_id")
        if device_id is not None and not DEVICE_ID.fullmatch(device_id):
            raise TokenError("invalid_request", "device_id: from 6 to 50 printable ASCII characters")
        pair = self._grants.issue(approval.sub, client_id=client.client_id, scopes=approval.scopes, device_id=device_id)
        answer = self._tokens(pair)
        if approval.scopes != approval.requested:
            answer["scope"] = " ".join(sorted(approval.scopes))
        return answer

    def _refresh(self, form: Form, authorization: str | None) -> dict[str, object]:
        needs_secret = self._rules.common.refresh_needs_secret
        client = self._authenticate(form, authorization, secret_is_needed=needs_secret)
        token = form.get("refresh_token")
        if not token:
            raise TokenError("invalid_request", "refresh_token not passed")
        pair = self._grants.find_refresh(token)
        if pair is None or pair.client_id != client.client_id:
            raise TokenError("invalid_grant", "Token is invalid or revoked")
        try:
            return self._tokens(self._grants.refresh(pair))
        except RefreshExpiredError:
            raise TokenError("expired_token", "Refresh token has expired") from None

    def _tokens(self, pair: TokenPair) -> dict[str, object]:
        return {
            "token_type": "bearer",
            "access_token": pair.access,
            "expires_in": int(pair.access_expires_at - self._clock.now()),
            "refresh_token": pair.refresh,
        }

    def _authenticate(self, form: Form, authorization: str | None, *, secret_is_needed: bool) -> Client:
        client_id, secret = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret", ""))
        if not client_id:
            raise TokenError("invalid_request", "client_id not passed")
        client = self._clients.find(client_id)
        if client is None:
            raise TokenError("invalid_client", "Client not found", status=401)
        if client.deleted:
            raise TokenError("unauthorized_client", "Client is blocked", status=401)
        if (secret or secret_is_needed) and not client.has_secret(secret):
            raise TokenError("invalid_client", "Wrong client secret", status=401)
        return client


def _basic(authorization: str | None) -> tuple[str, str] | None:
    """Return the credentials of the header, which wins over the form; None without a header. Raises TokenError."""
    if authorization is None:
        return None
    try:
        pair = basic_credentials(authorization)
    except MalformedHeaderError:
        raise TokenError("Malformed Authorization header", "Malformed Authorization header") from None
    if pair is None:
        raise TokenError("Basic auth required", "Basic auth required")
    return pair


def _check_verifier(approval: Approval, verifier: str | None) -> None:
    if approval.code_challenge is None:
        return
    method = approval.code_challenge_method
    if not verifier or not proves(verifier, challenge=approval.code_challenge, method=method):
        raise TokenError("invalid_grant", "code_verifier not matched")
