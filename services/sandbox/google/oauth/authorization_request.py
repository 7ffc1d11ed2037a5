"""Parses authorization requests. Errors are shown on a page: a request that is not valid never redirects.

Source: "Using OAuth 2.0 for Web Server Applications" and "OpenID Connect" of Google's identity documentation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.sandbox.google.oauth.scopes import KNOWN_SCOPES, canonical
from services.sandbox.oauth.clients import Client, Clients
from services.sandbox.oauth.pkce import WELL_FORMED

_PROMPTS = {"none", "consent", "select_account"}


class PageError(Exception):
    """Ends the flow on an error page, without a redirect."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request: the client is known and `redirect_uri` is registered for it."""

    client: Client
    redirect_uri: str
    scopes: frozenset[str]
    state: str | None
    nonce: str | None
    offline: bool
    prompts: frozenset[str]
    login_hint: str | None
    hosted_domain: str | None
    include_granted: bool
    code_challenge: str | None
    code_challenge_method: str


def read_request(query: Mapping[str, Sequence[str]], *, clients: Clients) -> AuthorizationRequest:
    """Parse a query string. Raises PageError with Google's error name for an invalid request."""
    for name, given in query.items():
        if len(given) > 1:
            raise PageError("invalid_request", f"OAuth 2 parameters can only have a single value: {name}")
    values = {name: single[0] for name, single in query.items() if single[0]}
    client = _client(values, clients)
    redirect_uri = _required(values, "redirect_uri")
    if not client.allows_redirect(redirect_uri):
        raise PageError("redirect_uri_mismatch", f"The redirect URI in the request, {redirect_uri}, is not registered.")
    if _required(values, "response_type") != "code":
        raise PageError("unsupported_response_type", "The sandbox offers response_type=code only.")
    challenge, method = _challenge(values)
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        scopes=_scopes(_required(values, "scope")),
        state=values.get("state"),
        nonce=values.get("nonce"),
        offline=_one_of(values, "access_type", ("online", "offline")) == "offline",
        prompts=_prompts(values.get("prompt", "")),
        login_hint=values.get("login_hint"),
        hosted_domain=values.get("hd"),
        include_granted=_one_of(values, "include_granted_scopes", ("false", "true")) == "true",
        code_challenge=challenge,
        code_challenge_method=method,
    )


def _required(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise PageError("invalid_request", f"Missing required parameter: {name}")
    return values[name]


def _one_of(values: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = values.get(name, allowed[0])
    if value not in allowed:
        raise PageError("invalid_request", f"Invalid parameter value for {name}: {value}")
    return value


def _client(values: Mapping[str, str], clients: Clients) -> Client:
    client = clients.find(_required(values, "client_id"))
    if client is None:
        raise PageError("invalid_client", "The OAuth client was not found.", status=401)
    if client.deleted:
        raise PageError("deleted_client", "The OAuth client was deleted.", status=401)
    return client


def _scopes(value: str) -> frozenset[str]:
    scopes = frozenset(canonical(scope) for scope in value.split())
    unknown = sorted(scopes - KNOWN_SCOPES)
    if unknown:
        raise PageError("invalid_scope", f"Some requested scopes were invalid. invalid=[{', '.join(unknown)}]")
    if not scopes:
        raise PageError("invalid_request", "Missing required parameter: scope")
    return scopes


def _prompts(value: str) -> frozenset[str]:
    prompts = frozenset(value.split())
    if prompts - _PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise PageError("invalid_request", f"Invalid parameter value for prompt: {value}")
    return prompts


def _challenge(values: Mapping[str, str]) -> tuple[str | None, str]:
    challenge = values.get("code_challenge")
    method = _one_of(values, "code_challenge_method", ("plain", "S256"))
    if challenge is None and "code_challenge_method" in values:
        raise PageError("invalid_request", "Missing required parameter: code_challenge")
    if challenge is not None and not WELL_FORMED.fullmatch(challenge):
        raise PageError("invalid_request", "Invalid parameter value for code_challenge")
    return challenge, method
