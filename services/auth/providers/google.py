"""OAuth and OpenID Connect of Google, or of any provider that follows the protocol.

Sources: Google "Using OAuth 2.0 for Web Server Applications" and "OpenID Connect"; RFC 6749, 7009, 9207.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from services.auth.providers import oauth_responses
from services.auth.providers.base import (
    AuthenticationTooOldError,
    Grant,
    IdentityRefusedError,
    ProviderIdentity,
    ProviderUnavailableError,
)
from services.auth.providers.id_token import ExpectedAuthentication, IdTokens
from services.kit.http.jwks import RETRY_INTERVAL, keys_at
from services.kit.http.outbound import Egress, HttpResponse
from services.kit.jwks import KeySet

ISSUER = "https://accounts.google.com"
MAIL_SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/gmail.readonly",
        "https://www.googleapis.com/auth/gmail.modify",
        "https://mail.google.com/",
    }
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class GoogleEndpoints:
    """The addresses of the provider. None: the provider has no such endpoint, or its issuer is unknown."""

    issuer: str | None
    authorization_url: str
    token_url: str
    userinfo_url: str | None
    jwks_url: str | None
    revoke_url: str | None

    def hosts(self) -> dict[str, str]:
        """Return the host of each endpoint, for the log line at start."""
        return {name: urlsplit(url).netloc if url else "none" for name, url in self._by_name().items()}

    def name_call(self, url: httpx.URL) -> str:
        """Return the name of the endpoint at `url`, such as `google.token`."""
        asked = urlsplit(str(url))[:3]
        known = (name for name, own in self._by_name().items() if own and urlsplit(own)[:3] == asked)
        return f"google.{next(known, 'other')}"

    def _by_name(self) -> dict[str, str | None]:
        return {
            "authorization": self.authorization_url,
            "token": self.token_url,
            "userinfo": self.userinfo_url,
            "keys": self.jwks_url,
            "revoke": self.revoke_url,
        }


@dataclass(frozen=True)
class GoogleClient:
    """Our client at the provider, and the scopes that it requests."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...]


class Google:
    """The provider named `google`."""

    name = "google"

    def __init__(
        self,
        *,
        endpoints: GoogleEndpoints,
        client: GoogleClient,
        egress: Egress,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._endpoints = endpoints
        self._client = client
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
        self, *, state: str, nonce: str, code_challenge: str, force_consent: bool, max_age: int | None
    ) -> str:
        """Return the URL for the browser; it keeps the parameters of the configured URL."""
        base = urlsplit(self._endpoints.authorization_url)
        query = dict(parse_qsl(base.query, keep_blank_values=True)) | {
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "response_type": "code",
            "scope": " ".join(self._client.scopes),
            "access_type": "offline",
            "state": state,
            "nonce": nonce,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",
        }
        if force_consent:
            # Not by default: each consent creates a refresh token, and Google keeps the newest 100 only.
            query["prompt"] = "consent"
        if max_age is not None:
            query["max_age"] = str(max_age)
        return base._replace(query=urlencode(query)).geturl()

    def accepts_issuer(self, iss: str) -> bool:
        """Return whether `iss` allows for this provider (RFC 9207). Google often omits it: absence proves nothing."""
        return iss == "" or self._endpoints.issuer is None or iss == self._endpoints.issuer

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        """Return whether one of the scopes that can read mail is granted, or none of them is requested.

        GOOGLE_SCOPES lists no Gmail scopes where the configured provider has none.
        """
        return bool(MAIL_SCOPES & scopes) or not MAIL_SCOPES & set(self._client.scopes)

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, max_age: int | None, timeout: float
    ) -> tuple[ProviderIdentity, Grant]:
        """Exchange the code and establish the identity. Raises ProviderError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "code_verifier": code_verifier,
        }
        try:
            async with asyncio.timeout(timeout):
                answer = await self._call_token_endpoint(form, timeout=timeout)
                grant = oauth_responses.grant(
                    answer, requested=oauth_responses.scopes(self._client.scopes), now=self._clock()
                )
                expected = ExpectedAuthentication(nonce=nonce, access_token=grant.access_token, max_age=max_age)
                identity = await self._identity(answer, expected, timeout=timeout)
        except TimeoutError as error:
            raise ProviderUnavailableError("exchange: timed out") from error
        return identity, grant

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        """Return a new access token; Google keeps the refresh token, others rotate it. Raises ProviderError."""
        answer = await self._call_token_endpoint(
            {"grant_type": "refresh_token", "refresh_token": refresh_token}, timeout=timeout
        )
        return oauth_responses.grant(answer, requested=scopes, now=self._clock())

    async def revoke(self, token: str, *, timeout: float) -> None:
        """End the grant (RFC 7009). Google responds 400 `invalid_token` if it has ended already."""
        if self._endpoints.revoke_url is None:
            return
        answer = await self._post(self._endpoints.revoke_url, {"token": token}, timeout=timeout)
        document = answer.json_object() or {}
        if answer.succeeded or (answer.status == 400 and document.get("error") == "invalid_token"):
            return
        raise oauth_responses.failure("revoke", answer)

    async def _call_token_endpoint(self, form: dict[str, str], *, timeout: float) -> dict[str, Any]:
        answer = await self._post(self._endpoints.token_url, form, timeout=timeout)
        document = answer.json_object()
        if not answer.succeeded or document is None or "error" in document:
            raise oauth_responses.failure(form["grant_type"], answer)
        return document

    async def _post(self, url: str, form: dict[str, str], *, timeout: float) -> HttpResponse:
        """Send the form with our credentials, which RFC 7009, section 2.1 requires for revocation; Google does not."""
        credentials = {"client_id": self._client.client_id, "client_secret": self._client.client_secret}
        return await self._egress.send("POST", url, form={**form, **credentials}, timeout=timeout)

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
        answer = await self._egress.send("GET", url, bearer=access_token, timeout=timeout)
        info = answer.json_object()
        if not answer.succeeded or info is None:
            raise oauth_responses.failure("userinfo", answer)
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
    direct = parts.scheme == "https" or parts.hostname in _LOOPBACK
    return direct or not (endpoints.jwks_url or "").startswith("https:")
