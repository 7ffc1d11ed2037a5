"""Behaviour of Yandex that is undocumented or differs between users; the control API changes it."""

from dataclasses import dataclass, field
from typing import Literal

YEAR = 31_536_000.0


@dataclass(slots=True)
class Rules:
    """Behaviour for all users. Lifetimes are in seconds."""

    token_lifetime: float = YEAR
    """Lifetime of access and refresh tokens alike."""
    renew_below: float = YEAR - 90 * 86_400
    """A refresh answers another access token only if the present one lives shorter than this."""
    device_cap: int = 20
    """Tokens of devices per user and client; the oldest one beyond it dies."""
    same_device: Literal["replaces", "adds"] = "replaces"
    """Whether a further token for a device ends the one before it."""
    refresh_needs_secret: bool = True
    """Whether a client that exchanged its code by PKCE alone needs its secret for a refresh."""


@dataclass(frozen=True, slots=True)
class UserRules:
    """Treatment of one user."""

    imap: bool = True
    """Whether the user has switched IMAP on."""
    authorize_error: str | None = None
    """Redirect with this `error` instead of a code, as for a client under moderation."""


@dataclass(slots=True)
class AllRules:
    """The rules of all users, and those of each."""

    common: Rules = field(default_factory=Rules)
    _by_sub: dict[str, UserRules] = field(default_factory=dict)

    def of(self, sub: str) -> UserRules:
        """Return how this user is treated."""
        return self._by_sub.get(sub, _ORDINARY)

    def put(self, sub: str, rules: UserRules) -> None:
        """Replace how this user is treated."""
        self._by_sub[sub] = rules


_ORDINARY = UserRules()
