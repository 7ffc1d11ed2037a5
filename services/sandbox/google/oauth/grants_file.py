"""The file that keeps grants and refresh tokens while a sandbox is not running."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.oauth.kept_file import KeptFile


@dataclass(slots=True)
class RefreshToken:
    """A refresh token; `expires_at` is set for a grant of limited lifetime."""

    sub: str
    client_id: str
    scopes: frozenset[str]
    expires_at: float | None
    last_used: float


@dataclass(slots=True)
class Grant:
    """A user's grant to a Cloud project."""

    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class KeptGrants:
    """Grants by user and project, and refresh tokens."""

    grants: Mapping[tuple[str, str], Grant] = field(default_factory=dict)
    refresh: Mapping[str, RefreshToken] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Content:
    grants: list[tuple[str, str, Grant]]
    refresh: dict[str, RefreshToken]


class GrantsFile:
    """The file of grants and refresh tokens."""

    def __init__(self, path: Path) -> None:
        self._file = KeptFile(path, _Content)

    def load(self) -> KeptGrants:
        """Return what was saved last, nothing without a file. Raises OSError, and ValueError for a damaged file."""
        content = self._file.load()
        if content is None:
            return KeptGrants()
        return KeptGrants({(sub, project): grant for sub, project, grant in content.grants}, content.refresh)

    def save(self, kept: KeptGrants) -> None:
        """Replace what was saved before. Raises OSError."""
        grants = [(sub, project, grant) for (sub, project), grant in kept.grants.items()]
        self._file.save(_Content(grants, dict(kept.refresh)))
