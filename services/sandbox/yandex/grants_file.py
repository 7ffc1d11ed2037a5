"""The file that keeps consents and tokens of Yandex ID while a sandbox is not running."""

from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.oauth.kept_file import KeptFile


@dataclass(slots=True, eq=False)
class TokenPair:
    """An access token and its refresh token. The pair stays the same one over its refreshes."""

    sub: str
    client_id: str
    scopes: frozenset[str]
    device_id: str | None
    access: str
    access_expires_at: float
    refresh: str
    refresh_expires_at: float


@dataclass(frozen=True, slots=True)
class Consent:
    """The scopes that a user has granted to a client."""

    sub: str
    client_id: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """The consents and tokens that outlive the process; codes do not."""

    consents: list[Consent] = field(default_factory=list)
    pairs: list[TokenPair] = field(default_factory=list)


def yandex_grants_file(grants_file: Path) -> KeptFile[KeptTokens]:
    """Return the file beside the one of Google's grants."""
    return KeptFile(grants_file.with_name(f"{grants_file.stem}-yandex{grants_file.suffix}"), KeptTokens)
