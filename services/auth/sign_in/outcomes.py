"""How the steps of a sign-in end."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SignInError(StrEnum):
    """All values of `error=` in redirects to the frontend. The provider's own text is never passed on."""

    ACCESS_DENIED = "access_denied"
    INVALID_STATE = "invalid_state"
    MISSING_SCOPE = "missing_scope"
    EMAIL_NOT_VERIFIED = "email_not_verified"
    NO_OFFLINE_ACCESS = "no_offline_access"
    ACCOUNT_IS_LINKED = "account_is_linked"
    SIGN_UP_NOT_ALLOWED = "sign_up_not_allowed"
    REAUTHENTICATION_REQUIRED = "reauthentication_required"
    PROVIDER_ERROR = "provider_error"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    SERVICE_UNAVAILABLE = "service_unavailable"


@dataclass(frozen=True)
class Started:
    """The URL for the browser, and the state by which the provider's response is recognised."""

    authorization_url: str
    state: str
    expires_at: datetime


@dataclass(frozen=True)
class AuthorizationResponse:
    """The query parameters of the provider's response, empty if absent."""

    state: str
    code: str
    error: str
    iss: str


@dataclass(frozen=True)
class Completed:
    """The user consented; the login code is redeemed for a session, for the link, or for a connect session."""

    login_code: str


@dataclass(frozen=True)
class Refused:
    """The user did not sign in."""

    error: SignInError


@dataclass(frozen=True)
class ConsentRequired:
    """The user must consent again, at this URL."""

    authorization_url: str


@dataclass(frozen=True)
class ReturnToApplication:
    """The end of a connect session: the browser goes to this URL of the application."""

    url: str


class RefusedError(Exception):
    """The sign-in ends with this error."""

    def __init__(self, error: SignInError) -> None:
        super().__init__(error)
        self.error = error
