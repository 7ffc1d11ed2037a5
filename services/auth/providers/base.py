"""The port of a mail provider's OAuth, and its errors."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True)
class ProviderIdentity:
    """The account that signed in: `subject` is the provider's lasting id of it, the address only an attribute.

    `email_verified` is None where the provider does not tell.
    """

    subject: str
    email: str
    email_verified: bool | None


@dataclass(frozen=True)
class Grant:
    """The tokens that a token endpoint granted. Without a refresh token the earlier one stays valid."""

    access_token: str = field(repr=False)
    access_token_expires_at: datetime
    refresh_token: str | None = field(repr=False)
    # Known when the provider limits the whole grant in time.
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class Consent:
    """A user's consent: their identity at a provider, and the grant."""

    provider: str
    identity: ProviderIdentity
    grant: Grant


class ProviderError(Exception):
    """A call to the provider failed. The text names the call and the provider's error code, never a token or code."""


class GrantRefusedError(ProviderError):
    """`invalid_grant`: the code or refresh token is invalid for ever (RFC 6749, section 5.2)."""


class AccessRefusedError(ProviderError):
    """The provider does not let this account use the application at present. The grant is not dead.

    Policies cause it, and so does an error code that nobody knows: one account can show no fault of the client.
    """

    def __init__(self, text: str, denial: str) -> None:
        """`denial` is a Denial, or a reason of the provider's own."""
        super().__init__(text)
        self.denial = denial


class ProviderUnavailableError(ProviderError):
    """Time-out, connection failure, 429, 5xx or a response outside of the protocol: the grant may still be valid."""


class ProviderRefusedError(ProviderError):
    """The provider refuses our client: id, secret, redirect URI or scope are wrong. The operator must correct them."""


class IdentityRefusedError(ProviderError):
    """The ID token or userinfo of a sign-in is invalid."""


class AuthenticationTooOldError(ProviderError):
    """The ID token does not show that the user authenticated as recently as the sign-in asked for."""


class Provider(Protocol):
    """The OAuth of one provider. `timeout` is in seconds, for the whole call."""

    @property
    def name(self) -> str:
        """The provider's name in URLs and records."""
        ...

    @property
    def refresh_age(self) -> timedelta | None:
        """The age at which tokens are refreshed although they last longer; None: they are refreshed before they expire.

        It is for providers whose refresh tokens expire with the access tokens.
        """
        ...

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
        """Return the URL for the browser. `force_consent` asks for offline access again after an earlier consent.

        `choose_account` lets the user take another account than the one that the browser is signed in with.
        `max_age` asks for an authentication of the user that is so many seconds old at most; None takes any.
        `login_hint` is the address that the user is likely to take (OpenID Connect Core, section 3.1.2.1).
        """
        ...

    def accepts_issuer(self, iss: str) -> bool:
        """Return whether `iss` of the redirect, empty if absent, allows for this provider (RFC 9207)."""
        ...

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        """Return whether the granted scopes suffice to read mail."""
        ...

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, max_age: int | None, timeout: float
    ) -> tuple[ProviderIdentity, Grant]:
        """Exchange the code of a redirect. Raises ProviderError, AuthenticationTooOldError for `max_age`."""
        ...

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        """Return a new access token, with a refresh token where the provider rotates them. Raises ProviderError.

        `scopes` are those granted so far; they stay if the response names none (RFC 6749, section 6).
        """
        ...

    async def is_dead(self, access_token: str, *, timeout: float) -> bool:
        """Return whether the provider itself refuses a token that its mail server refused; False if it cannot tell.

        Raises AccessRefusedError if the token lives, so that no other one helps, and any other ProviderError.
        """
        ...

    async def revoke(self, grant: Grant, *, timeout: float) -> None:
        """End the grant. Idempotent. Raises ProviderError."""
        ...
