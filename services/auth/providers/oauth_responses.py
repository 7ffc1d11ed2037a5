"""Parsing of OAuth responses, in which every field may be absent or of another type."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from services.auth.model import Denial
from services.auth.providers.base import (
    AccessRefusedError,
    Grant,
    GrantRefusedError,
    IdentityRefusedError,
    ProviderError,
    ProviderIdentity,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.kit.http.outbound import HttpResponse

# Google's responses have the long forms, requests usually the short ones.
_SCOPE_ALIASES = {
    "https://www.googleapis.com/auth/userinfo.email": "email",
    "https://www.googleapis.com/auth/userinfo.profile": "profile",
}
# `expires_in` is only recommended (RFC 6749, section 5.1). Too long a default is harmless: a token that the API refuses
# is reported by its fingerprint and refreshed.
_DEFAULT_LIFETIME = timedelta(hours=1)
_LONGEST_LIFETIME = timedelta(days=366)
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TRANSIENT_ERRORS: Final = frozenset({"internal_failure", "server_error", "temporarily_unavailable", "slow_down"})
# A new sign-in helps, and nothing else. Sources: RFC 6749, section 5.2; OpenID Connect Core, section 3.1.2.6.
_GRANT_ERRORS: Final = frozenset(
    {"invalid_grant", "consent_required", "interaction_required", "login_required", "account_selection_required"}
)
# The operator has to correct the client. Source: RFC 6749, section 5.2.
_CLIENT_ERRORS: Final = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_request", "unsupported_grant_type"}
)


@dataclass(frozen=True)
class ErrorCodes:
    """The error codes of a provider besides those of the standards, by their meaning.

    `grant`: a new sign-in helps, and nothing else. `client`: the operator has to correct the client. `denials`: the
    provider does not let this account use the application. An unknown code is a denial without a known reason.
    """

    grant: frozenset[str] = frozenset()
    client: frozenset[str] = frozenset()
    denials: Mapping[str, Denial] = field(default_factory=dict)

    def names(self, error: str) -> bool:
        """Return whether the code is one of these."""
        return error in self.grant or error in self.client or error in self.denials


STANDARD: Final = ErrorCodes()


def failure(call: str, answer: HttpResponse, codes: ErrorCodes = STANDARD) -> ProviderError:
    """Return the error of an unsuccessful response; its text holds the provider's error code and nothing else of it."""
    error = _error_code(answer.json_object() or {}, codes)
    text = f"{call}: HTTP {answer.status} {error or 'without an OAuth error'}"
    refused = answer.succeeded or (400 <= answer.status < 500 and answer.status not in (408, 429))
    if not refused or error is None or error in _TRANSIENT_ERRORS:
        return ProviderUnavailableError(text)
    if error in codes.denials:
        return AccessRefusedError(text, codes.denials[error])
    if error in _GRANT_ERRORS | codes.grant:
        return GrantRefusedError(text)
    if error in _CLIENT_ERRORS | codes.client:
        return ProviderRefusedError(text)
    return AccessRefusedError(text, Denial.DENIED)


def grant(answer: Mapping[str, Any], *, requested: frozenset[str], now: datetime) -> Grant:
    """Return the grant in a response of the token endpoint. Raises ProviderUnavailableError."""
    # A token of an unknown type must not be used (RFC 6749, section 7.1).
    if str(answer.get("token_type") or "bearer").lower() != "bearer":
        raise ProviderUnavailableError("token endpoint: a token that is no bearer token")
    # Absent, null and empty refresh tokens leave the stored one in place.
    refresh_token = answer.get("refresh_token") or None
    limit = answer.get("refresh_token_expires_in")
    return Grant(
        access_token=_token(answer.get("access_token")),
        access_token_expires_at=now + (_lifetime(answer.get("expires_in")) or _DEFAULT_LIFETIME),
        refresh_token=None if refresh_token is None else _token(refresh_token),
        refresh_token_expires_at=now + lifetime if (lifetime := _lifetime(limit)) else None,
        scopes=_granted(answer.get("scope"), requested=requested),
    )


def scopes(names: Iterable[str]) -> frozenset[str]:
    """Return the scopes in the short forms of requests, without malformed ones."""
    return frozenset(_SCOPE_ALIASES.get(name, name) for name in names if name.isascii() and name.isprintable())


def identity(claims: Mapping[str, Any]) -> ProviderIdentity:
    """Return the identity in the claims of an ID token or of userinfo. Raises IdentityRefusedError."""
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise IdentityRefusedError("no well-formed subject")
    if not subject.isascii() or not subject.isprintable():
        raise IdentityRefusedError("no well-formed subject")
    if not isinstance(email, str) or not _is_address(email):
        raise IdentityRefusedError("no well-formed address")
    # Some providers send the text "true". The claim is optional (OpenID Connect Core, section 5.1).
    verified = claims.get("email_verified")
    return ProviderIdentity(
        subject=subject,
        email=email,
        email_verified=None if verified is None else verified is True or verified == "true",
    )


def _error_code(document: Mapping[str, Any], codes: ErrorCodes) -> str | None:
    error = document.get("error")
    if isinstance(error, dict):
        # The shape of Google's APIs, which front ends of its OAuth use too.
        error = error.get("status")
    # Other texts may quote the request, which holds secrets. Some providers' codes have spaces.
    return error if isinstance(error, str) and (codes.names(error) or _ERROR_CODE.fullmatch(error)) else None


def _token(value: object) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ProviderUnavailableError("token endpoint: an answer without a well-formed token")
    return value


def _lifetime(value: object) -> timedelta | None:
    """Return the seconds of a number or of its text; None for other values."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return min(timedelta(seconds=min(value, _LONGEST_LIFETIME.total_seconds())), _LONGEST_LIFETIME)


def _granted(value: object, *, requested: frozenset[str]) -> frozenset[str]:
    """Return the granted scopes, or the requested ones if the response names none (RFC 6749, section 5.1)."""
    if isinstance(value, list):
        value = " ".join(scope for scope in value if isinstance(scope, str))
    return scopes(value.split()) if isinstance(value, str) else requested


def _is_address(text: str) -> bool:
    return len(text) <= 320 and text.isprintable() and " " not in text and "@" in text[1:-1]
