"""OAuth 2.0 of providers without OpenID Connect, whose userinfo endpoint tells who signed in.

Such providers differ in names and parameters only, which `Dialect` holds: a new one is data. Source: RFC 6749, 7009,
7636.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from services.auth.providers import oauth_responses
from services.auth.providers.base import (
    AccessRefusedError,
    AuthenticationTooOldError,
    Grant,
    IdentityRefusedError,
    ProviderIdentity,
    ProviderUnavailableError,
)
from services.auth.providers.oauth_client import OAuthClient, RegisteredClient
from services.auth.providers.oauth_responses import STANDARD, ErrorCodes
from services.kit.http.outbound import Egress

# The reason of a denial: the mail server refuses a token that lives. docs/errors.md says what helps.
IMAP_DISABLED: Final = "imap_disabled"


@dataclass(frozen=True)
class Endpoints:
    """The addresses of a provider. None: it has no such endpoint."""

    authorization_url: str
    token_url: str
    userinfo_url: str
    revoke_url: str | None

    def by_name(self) -> dict[str, str | None]:
        """Return the addresses by the names of their calls."""
        return {
            "authorization": self.authorization_url,
            "token": self.token_url,
            "userinfo": self.userinfo_url,
            "revoke": self.revoke_url,
        }


@dataclass(frozen=True)
class UserinfoFields:
    """The keys that lead to fields of userinfo. `verified` and `client_id` are empty if the provider does not tell."""

    subject: tuple[str, ...]
    address: tuple[str, ...]
    verified: tuple[str, ...] = ()
    client_id: tuple[str, ...] = ()


@dataclass(frozen=True)
class Revocation:
    """The form of a revocation: the parameter, which token it takes, and the errors that say that none is needed."""

    parameter: str = "token"
    takes_access_token: bool = False
    needless: frozenset[str] = frozenset({"invalid_token"})


@dataclass(frozen=True)
class Dialect:
    """The differences between providers.

    Each of `mail_scopes` suffices to read mail. `consent` are the parameters that ask for consent again, `choice` those
    that let the user choose an account. Userinfo gets the token in the header with `userinfo_scheme`, or in the query
    parameter `userinfo_parameter`. `refresh_age` is the one of Provider.
    """

    mail_scopes: frozenset[str]
    fields: UserinfoFields
    authorization: Mapping[str, str] = field(default_factory=dict)
    consent: Mapping[str, str] = field(default_factory=dict)
    choice: Mapping[str, str] = field(default_factory=dict)
    exchange: Mapping[str, str] = field(default_factory=dict)
    basic: bool = False
    userinfo_scheme: str = "Bearer"
    userinfo_parameter: str = ""
    revocation: Revocation = Revocation()
    codes: ErrorCodes = STANDARD
    refresh_age: timedelta | None = None


class UserinfoOAuth:
    """A provider that follows OAuth 2.0 in its dialect."""

    def __init__(
        self,
        name: str,
        *,
        endpoints: Endpoints,
        client: RegisteredClient,
        dialect: Dialect,
        egress: Egress,
        clock: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.refresh_age = dialect.refresh_age
        self._endpoints = endpoints
        self._registered = client
        self._dialect = dialect
        self._egress = egress
        self._client = OAuthClient(client, egress=egress, codes=dialect.codes, basic=dialect.basic)
        self._clock = clock

    def authorization_url(
        self,
        *,
        state: str,
        nonce: str,  # noqa: ARG002 - there is no ID token that could hold it
        code_challenge: str,
        force_consent: bool,
        choose_account: bool,
        max_age: int | None,  # noqa: ARG002 - the provider does not tell when the user authenticated
        login_hint: str = "",
    ) -> str:
        """Return the URL for the browser; it keeps the parameters of the configured URL."""
        parameters = {
            **self._dialect.authorization,
            **(self._dialect.consent if force_consent else {}),
            **(self._dialect.choice if choose_account else {}),
            **({"login_hint": login_hint} if login_hint else {}),
        }
        return self._client.authorization_url(
            self._endpoints.authorization_url, state=state, code_challenge=code_challenge, parameters=parameters
        )

    def accepts_issuer(self, iss: str) -> bool:  # noqa: ARG002 - see below
        """Return true: there is no `iss`. Redirect URIs of their own prevent mix-ups (RFC 9700, section 4.4.2.2)."""
        return True

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        """Return whether one of the scopes that suffice to read mail is granted."""
        return bool(self._dialect.mail_scopes & scopes)

    async def exchange(
        self,
        code: str,
        *,
        code_verifier: str,
        nonce: str,  # noqa: ARG002 - there is no ID token that could hold it
        max_age: int | None,
        timeout: float,
    ) -> tuple[ProviderIdentity, Grant]:
        """Exchange the code and ask userinfo for the identity. Raises ProviderError."""
        if max_age is not None:
            raise AuthenticationTooOldError("userinfo does not tell when the user authenticated")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._registered.redirect_uri,
            "code_verifier": code_verifier,
            **self._dialect.exchange,
        }
        requested = oauth_responses.scopes(self._registered.scopes)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._client.request_tokens(self._endpoints.token_url, form, timeout=timeout)
                grant = oauth_responses.grant(answer, requested=requested, now=self._clock())
                info = await self._userinfo(grant.access_token, timeout=timeout)
        except TimeoutError as error:
            raise ProviderUnavailableError("exchange: timed out") from error
        if info is None:
            raise IdentityRefusedError("userinfo refuses a token that was granted just now")
        return self._identity(info), grant

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        """Return the grant with its next tokens; the access token may be the same as before. Raises ProviderError."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = await self._client.request_tokens(self._endpoints.token_url, form, timeout=timeout)
        return oauth_responses.grant(answer, requested=scopes, now=self._clock())

    async def is_dead(self, access_token: str, *, timeout: float) -> bool:
        """Ask userinfo: a mail server does not tell a dead token from a mailbox that IMAP is switched off for.

        Raises AccessRefusedError `imap_disabled` if the token lives.
        """
        if await self._userinfo(access_token, timeout=timeout) is None:
            return True
        raise AccessRefusedError("userinfo takes the token that the mail server refused", IMAP_DISABLED)

    async def revoke(self, grant: Grant, *, timeout: float) -> None:
        """End the grant (RFC 7009, or the provider's own form of it); one that has ended already is left as it is."""
        if self._endpoints.revoke_url is None:
            return
        form = self._dialect.revocation
        token = grant.access_token if form.takes_access_token else grant.refresh_token or grant.access_token
        answer = await self._client.post(self._endpoints.revoke_url, {form.parameter: token}, timeout=timeout)
        error = (answer.json_object() or {}).get("error")
        if answer.succeeded or (answer.status == 400 and error in form.needless):
            return
        raise oauth_responses.failure("revoke", answer, self._dialect.codes)

    async def _userinfo(self, access_token: str, *, timeout: float) -> dict[str, Any] | None:
        """Return the token's userinfo, or None if the provider refuses the token. Raises ProviderError."""
        url, authorization = self._endpoints.userinfo_url, f"{self._dialect.userinfo_scheme} {access_token}"
        if self._dialect.userinfo_parameter:
            url = str(httpx.URL(url).copy_merge_params({self._dialect.userinfo_parameter: access_token}))
            answer = await self._egress.send("GET", url, timeout=timeout)
        else:
            answer = await self._egress.send("GET", url, authorization=authorization, timeout=timeout)
        if answer.status == 401:
            return None
        info = answer.json_object()
        if not answer.succeeded or info is None:
            raise oauth_responses.failure("userinfo", answer, self._dialect.codes)
        return info

    def _identity(self, info: Mapping[str, Any]) -> ProviderIdentity:
        fields = self._dialect.fields
        client_id = _at(info, fields.client_id) if fields.client_id else None
        if client_id not in (None, self._registered.client_id):
            raise IdentityRefusedError("userinfo: the token is another client's")
        subject = _at(info, fields.subject)
        if isinstance(subject, int) and not isinstance(subject, bool):
            subject = str(subject)
        verified = _at(info, fields.verified) if fields.verified else None
        return oauth_responses.identity(
            {"sub": subject, "email": _at(info, fields.address), "email_verified": verified}
        )


def _at(info: Mapping[str, Any], path: tuple[str, ...]) -> object:
    """Return the value at the end of a path of keys, None if there is none."""
    value: object = info
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
