"""OAuth and OpenID Connect of Google, or of any provider that follows the protocol.

Sources: Google "Using OAuth 2.0 for Web Server Applications" and "OpenID Connect"; RFC 6749, 7009, 9207.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from services.auth.model import Denial
from services.auth.providers import oauth_responses
from services.auth.providers.base import (
    AuthenticationTooOldError,
    Grant,
    IdentityRefusedError,
    Provider,
    ProviderIdentity,
    ProviderUnavailableError,
)
from services.auth.providers.call_names import Addresses
from services.auth.providers.id_token import ExpectedAuthentication, IdTokens
from services.auth.providers.oauth_client import OAuthClient, RegisteredClient
from services.auth.providers.oauth_responses import ErrorCodes
from services.auth.providers.registration import Clock, Registration, text_of
from services.auth.providers.urls import LOOPBACK
from services.auth.settings import AuthSettings
from services.kit.http.jwks import RETRY_INTERVAL, keys_at
from services.kit.http.outbound import Egress
from services.kit.jwks import KeySet

ISSUER = "https://accounts.google.com"
MAIL_SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/gmail.readonly",
        "https://www.googleapis.com/auth/gmail.modify",
        "https://mail.google.com/",
    }
)
# Codes of Google's error pages, which its token endpoint and its redirects use too. A refresh names no scope, so
# `invalid_scope` is a policy's. Source: Google "OAuth 2.0 for Web Server Apps".
_CODES = ErrorCodes(
    client=frozenset({"deleted_client", "disabled_client", "redirect_uri_mismatch"}),
    denials={
        "admin_policy_enforced": Denial.ADMIN_POLICY,
        "policy_enforced": Denial.ADMIN_POLICY,
        "invalid_scope": Denial.ADMIN_POLICY,
        "access_denied": Denial.APP_RESTRICTED,
        "org_internal": Denial.APP_RESTRICTED,
        "restricted_client": Denial.APP_RESTRICTED,
    },
)


@dataclass(frozen=True)
class GoogleEndpoints:
    """The addresses of the provider. None: the provider has no such endpoint, or its issuer is unknown."""

    issuer: str | None
    authorization_url: str
    token_url: str
    userinfo_url: str | None
    jwks_url: str | None
    revoke_url: str | None

    def by_name(self) -> dict[str, str | None]:
        """Return the addresses by the names of their calls."""
        return {
            "authorization": self.authorization_url,
            "token": self.token_url,
            "userinfo": self.userinfo_url,
            "keys": self.jwks_url,
            "revoke": self.revoke_url,
        }


class Google:
    """The provider named `google`."""

    name = "google"
    refresh_age = None

    def __init__(
        self,
        *,
        endpoints: GoogleEndpoints,
        client: RegisteredClient,
        egress: Egress,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._endpoints = endpoints
        self._registered = client
        self._client = OAuthClient(client, egress=egress, codes=_CODES)
        self._egress = egress
        self._clock = clock
        self._id_tokens: IdTokens | None = None
        if endpoints.issuer is not None:
            self._id_tokens = IdTokens(
                client_id=client.client_id,
                issuers=_issuers(endpoints.issuer),
                keys=_keys(endpoints.jwks_url, egress, monotonic),
                trusted_channel=_trusts_token_endpoint(endpoints),
                clock=clock,
            )

    def authorization_url(
        self,
        *,
        state: str,
        nonce: str,
        code_challenge: str,
        force_consent: bool,
        choose_account: bool,
        max_age: int | None,
        login_hint: str = "",
    ) -> str:
        """Return the URL for the browser; it keeps the parameters of the configured URL."""
        parameters = {"access_type": "offline", "nonce": nonce}
        # No consent by default: each one creates a refresh token, and Google keeps the newest 100 only.
        asked = (("select_account", choose_account), ("consent", force_consent))
        if prompt := " ".join(value for value, is_wanted in asked if is_wanted):
            parameters["prompt"] = prompt
        if max_age is not None:
            parameters["max_age"] = str(max_age)
        if login_hint:
            parameters["login_hint"] = login_hint
        return self._client.authorization_url(
            self._endpoints.authorization_url, state=state, code_challenge=code_challenge, parameters=parameters
        )

    def accepts_issuer(self, iss: str) -> bool:
        """Return whether `iss` allows for this provider (RFC 9207). Google often omits it: absence proves nothing."""
        return iss == "" or self._endpoints.issuer is None or iss == self._endpoints.issuer

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        """Return whether one of the scopes that can read mail is granted, or none of them is requested.

        GOOGLE_SCOPES lists no Gmail scopes where the configured provider has none.
        """
        return bool(MAIL_SCOPES & scopes) or not MAIL_SCOPES & set(self._registered.scopes)

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, max_age: int | None, timeout: float
    ) -> tuple[ProviderIdentity, Grant]:
        """Exchange the code and establish the identity. Raises ProviderError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._registered.redirect_uri,
            "code_verifier": code_verifier,
        }
        try:
            async with asyncio.timeout(timeout):
                answer = await self._client.request_tokens(self._endpoints.token_url, form, timeout=timeout)
                grant = oauth_responses.grant(
                    answer, requested=oauth_responses.scopes(self._registered.scopes), now=self._clock()
                )
                expected = ExpectedAuthentication(nonce=nonce, access_token=grant.access_token, max_age=max_age)
                identity = await self._identity(answer, expected, timeout=timeout)
        except TimeoutError as error:
            raise ProviderUnavailableError("exchange: timed out") from error
        return identity, grant

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        """Return a new access token; Google keeps the refresh token, others rotate it. Raises ProviderError."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = await self._client.request_tokens(self._endpoints.token_url, form, timeout=timeout)
        return oauth_responses.grant(answer, requested=scopes, now=self._clock())

    async def is_dead(self, access_token: str, *, timeout: float) -> bool:  # noqa: ARG002 - see below
        """Return false: Gmail's answers tell a dead token from a mailbox without access."""
        return False

    async def revoke(self, grant: Grant, *, timeout: float) -> None:
        """End the grant (RFC 7009). Google responds 400 `invalid_token` if it has ended already."""
        if self._endpoints.revoke_url is None:
            return
        token = grant.refresh_token or grant.access_token
        answer = await self._client.post(self._endpoints.revoke_url, {"token": token}, timeout=timeout)
        document = answer.json_object() or {}
        if answer.succeeded or (answer.status == 400 and document.get("error") == "invalid_token"):
            return
        raise oauth_responses.failure("revoke", answer, _CODES)

    async def _identity(
        self, answer: dict[str, Any], expected: ExpectedAuthentication, *, timeout: float
    ) -> ProviderIdentity:
        """Return the identity by the ID token, or by userinfo if no ID token can be verified.

        Userinfo answers for the access token that the token endpoint gave for our code, which state and PKCE bind to
        this sign-in. It also adds the claims that the ID token lacks.
        """
        claims: dict[str, Any] = {}
        proven = False
        id_token = answer.get("id_token")
        if self._id_tokens is not None and isinstance(id_token, str):
            claims, proven = await self._id_tokens.read(id_token, expected)
        elif expected.max_age is not None:
            raise AuthenticationTooOldError("no ID token that can tell when the user authenticated")
        if not proven or claims.get("email") is None or claims.get("email_verified") is None:
            claims = await self._with_userinfo(
                claims, proven=proven, access_token=expected.access_token, timeout=timeout
            )
        return oauth_responses.identity(claims)

    async def _with_userinfo(
        self, claims: dict[str, Any], *, proven: bool, access_token: str, timeout: float
    ) -> dict[str, Any]:
        url = self._endpoints.userinfo_url
        if url is None:
            if proven:
                return claims
            raise IdentityRefusedError("neither an ID token that can be verified nor a userinfo endpoint")
        answer = await self._egress.send("GET", url, authorization=f"Bearer {access_token}", timeout=timeout)
        info = answer.json_object()
        if not answer.succeeded or info is None:
            raise oauth_responses.failure("userinfo", answer, _CODES)
        # Google's older userinfo endpoint has other names for two of the claims.
        info.setdefault("sub", info.get("id"))
        info.setdefault("email_verified", info.get("verified_email"))
        if claims and claims["sub"] != info["sub"]:
            raise IdentityRefusedError("userinfo: another subject than the ID token's")
        return info | {name: value for name, value in claims.items() if value is not None}


def _keys(url: str | None, egress: Egress, monotonic: Callable[[], float]) -> KeySet | None:
    if not url:
        return None
    fetch = keys_at(url, egress=egress)
    return KeySet(fetch, algorithm="RS256", retry_interval=RETRY_INTERVAL, monotonic=monotonic)


def _issuers(issuer: str) -> frozenset[str]:
    """Return the accepted values of `iss`: Google may omit the scheme, any other issuer is compared exactly."""
    return frozenset({issuer, issuer.removeprefix("https://")}) if issuer == ISSUER else frozenset({issuer})


def _trusts_token_endpoint(endpoints: GoogleEndpoints) -> bool:
    """Return whether ID tokens of the token endpoint are accepted while the signing keys are unavailable.

    TLS, or loopback, proves the peer of the direct call (OpenID Connect Core, section 3.1.3.7, item 6). A plaintext
    call proves nothing, and keys fetched in plaintext would not either; keys from an https address would, so that they
    are required there.
    """
    parts = urlsplit(endpoints.token_url)
    direct = parts.scheme == "https" or parts.hostname in LOOPBACK
    return direct or not (endpoints.jwks_url or "").startswith("https:")


def _endpoints(settings: AuthSettings) -> GoogleEndpoints:
    return GoogleEndpoints(
        issuer=settings.google_issuer,
        authorization_url=settings.google_auth_url,
        token_url=settings.google_token_url,
        userinfo_url=settings.google_userinfo_url,
        jwks_url=settings.google_jwks_url,
        revoke_url=settings.google_revoke_url,
    )


def _addresses(settings: AuthSettings) -> Mapping[str, Addresses]:
    return {Google.name: _endpoints(settings).by_name()} if settings.google_client_id else {}


def _providers(settings: AuthSettings, egress: Egress, clock: Clock) -> Mapping[str, Provider]:
    if not settings.google_client_id:
        return {}
    client = RegisteredClient(
        client_id=settings.google_client_id,
        client_secret=text_of(settings.google_client_secret),
        redirect_uri=settings.redirect_uri,
        scopes=tuple(settings.google_scopes.split()),
    )
    endpoints = _endpoints(settings)
    return {
        Google.name: Google(endpoints=endpoints, client=client, egress=egress, clock=clock, monotonic=time.monotonic)
    }


GOOGLE = Registration(addresses=_addresses, providers=_providers)
