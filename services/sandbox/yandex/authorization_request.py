"""Parses authorization requests of Yandex. A request that is not valid is answered with a page, never a redirect.

Source: yandex.com/dev/id, "Getting a code from a URL".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.sandbox.oauth.clients import Client, Clients
from services.sandbox.oauth.pkce import WELL_FORMED
from services.sandbox.yandex.scopes import KNOWN

MAX_STATE = 1024
DEVICE_ID = re.compile(r"[\x20-\x7e]{6,50}")


class PageError(Exception):
    """Ends the flow on an error page."""


class RedirectError(Exception):
    """Ends the flow with an error for the client."""

    def __init__(self, redirect_uri: str, state: str | None, error: str, description: str) -> None:
        super().__init__(error)
        self.redirect_uri = redirect_uri
        self.state = state
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request. The user may refuse each of `optional` by itself."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: frozenset[str]
    optional: frozenset[str]
    force_confirm: bool
    device_id: str | None
    login_hint: str | None
    code_challenge: str | None
    code_challenge_method: str


def read_request(query: Mapping[str, str], *, clients: Clients) -> AuthorizationRequest:
    """Parse the parameters of a request. Raises PageError or RedirectError."""
    client = clients.find(query.get("client_id", ""))
    if client is None or client.deleted:
        raise PageError("Application with this client_id was not found or is blocked")
    redirect_uri = _redirect_uri(query.get("redirect_uri"), client)
    state = query.get("state")
    if state is not None and len(state) > MAX_STATE:
        raise PageError(f"state is longer than {MAX_STATE} characters")
    if query.get("response_type") != "code":
        raise PageError("response_type: only code is supported here")
    device_id = query.get("device_id")
    if device_id is not None and not DEVICE_ID.fullmatch(device_id):
        raise PageError("device_id: from 6 to 50 printable ASCII characters")
    challenge, method = query.get("code_challenge"), query.get("code_challenge_method", "plain")
    if method not in ("plain", "S256") or (challenge is not None and not WELL_FORMED.fullmatch(challenge)):
        raise PageError("code_challenge or its method is malformed")
    # The rights of the registered application are the default.
    scopes = frozenset(query["scope"].split()) if "scope" in query else KNOWN
    optional = frozenset(query.get("optional_scope", "").split())
    if not scopes | optional <= KNOWN:
        raise RedirectError(redirect_uri, state, "invalid_scope", "Requested scopes are not allowed for this client")
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        state=state,
        scopes=scopes,
        optional=optional - scopes,
        force_confirm=query.get("force_confirm", "").lower() in ("yes", "1", "true"),
        device_id=device_id,
        login_hint=query.get("login_hint"),
        code_challenge=challenge,
        code_challenge_method=method,
    )


def _redirect_uri(given: str | None, client: Client) -> str:
    if given is None and client.redirect_uris:
        return min(client.redirect_uris)
    if given is None or not client.allows_redirect(given):
        raise PageError("redirect_uri does not match the Callback URL of the application")
    return given
