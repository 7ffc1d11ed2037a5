"""What Mailroom needs of a mail provider's OAuth, and how it can fail."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class ProviderIdentity:
    """Who signed in: `subject` is the provider's lasting id of the account, the address only an attribute."""

    subject: str
    email: str
    email_verified: bool


@dataclass(frozen=True)
class Grant:
    """What a token endpoint granted. No refresh token means that one given earlier stays in force."""

    access_token: str = field(repr=False)
    access_token_expires_at: datetime
    refresh_token: str | None = field(repr=False)
    # Known when the provider limits the whole grant in time.
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class Consent:
    """What somebody agreed to: who they are at which provider, and what they granted."""

    provider: str
    identity: ProviderIdentity
    grant: Grant


class ProviderError(Exception):
    """A call to the provider failed. The text names the call and the provider's error code, never a token or code."""


class GrantRefusedError(ProviderError):
    """`invalid_grant`: the code or refresh token is dead, and asking again will not help (RFC 6749, section 5.2)."""


class ProviderUnavailableError(ProviderError):
    """Time-out, connection failure, 429, 5xx or an answer that is not the protocol's: says nothing about the grant."""


class ProviderRefusedError(ProviderError):
    """The provider refuses us, not the user: wrong client, secret, redirect URI or scope. Needs the operator."""


class IdentityRefusedError(ProviderError):
    """The provider's statement of who signed in does not hold."""


class Provider(Protocol):
    """One provider's OAuth with its deviations. `timeout` is in seconds, for the whole call."""

    @property
    def name(self) -> str:
        """Its name in addresses and records, for example `google`."""
        ...

    def authorization_url(self, *, state: str, nonce: str, code_challenge: str, force_consent: bool) -> str:
        """Where to send the browser. `force_consent` asks for offline access anew, even if consent was given before."""
        ...

    def accepts_issuer(self, iss: str) -> bool:
        """Whether `iss` of the redirect names this provider (RFC 9207); empty if the redirect had none."""
        ...

    def grants_mail(self, scopes: frozenset[str]) -> bool:
        """Whether the granted scopes suffice to read mail."""
        ...

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, timeout: float
    ) -> tuple[ProviderIdentity, Grant]:
        """Exchanges the code of a redirect. Raises ProviderError."""
        ...

    async def refresh(self, refresh_token: str, *, scopes: frozenset[str], timeout: float) -> Grant:
        """A new access token, and a new refresh token where the provider rotates them. Raises ProviderError.

        `scopes` are those granted so far; they still hold if the answer names none (RFC 6749, section 6).
        """
        ...

    async def revoke(self, token: str, *, timeout: float) -> None:
        """Ends the grant behind the token; one that has ended already is fine. Raises ProviderError."""
        ...
