"""Grants, authorization codes and tokens.

Rules of Google (reference "OAuth 2.0 web-server flow"): a grant belongs to a user and a Cloud project, revoking any of
its tokens ends all of it, a code works once, and beyond the cap a client's oldest refresh token silently ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from services.sandbox.clock import Clock
from services.sandbox.google.oauth.grants_file import Grant, GrantsFile, KeptGrants, RefreshToken
from services.sandbox.google.oauth.scopes import GMAIL_SCOPES, SIGN_IN_SCOPES

CODE_LIFETIME = 600.0
TESTING_LIFETIME = 604_799.0
"""Lifetime in seconds of a grant whose consent screen has the status Testing."""
UNUSED_LIFETIME = 180 * 86_400.0
"""Seconds without use after which a refresh token ends."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A user's consent, as an authorization code carries it to the token endpoint."""

    sub: str
    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    offline: bool
    consent_shown: bool
    nonce: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str = "plain"
    # The Unix time of the user's authentication, set with the code: each consent counts as one.
    auth_time: int | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token."""

    sub: str
    client_id: str
    scopes: frozenset[str]
    expires_at: float
    offline: bool


@dataclass(slots=True)
class _Code:
    approval: Approval
    expires_at: float


@dataclass(slots=True)
class _Store:
    grants: dict[tuple[str, str], Grant] = field(default_factory=dict)
    codes: dict[str, _Code] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)


def project_of(client_id: str) -> str:
    """Return the Cloud project of a client id: `NNN` of `NNN-xxxx.apps.googleusercontent.com`."""
    return client_id.partition("-")[0]


class Grants:
    """All grants of all users, in memory; with a file, grants and refresh tokens outlive the process."""

    def __init__(
        self, *, clock: Clock, access_lifetime: float, new_token: Callable[[int], str], file: GrantsFile | None = None
    ) -> None:
        """Raises OSError or ValueError if the file cannot be read."""
        self._clock = clock
        self._file = file
        self._access_lifetime = access_lifetime
        self._new_token = new_token
        kept = KeptGrants() if file is None else file.load()
        self._store = _Store(grants=dict(kept.grants), refresh=dict(kept.refresh))
        self._sweep_at = 1000

    @property
    def access_lifetime(self) -> float:
        """Lifetime of access tokens in seconds."""
        return self._access_lifetime

    def granted(self, sub: str, client_id: str) -> frozenset[str]:
        """Return the scopes that the user has granted to the client's project."""
        key = (sub, project_of(client_id))
        grant = self._store.grants.get(key)
        if grant is not None and grant.expires_at is not None and grant.expires_at <= self._clock.now():
            del self._store.grants[key]
            grant = None
        return grant.scopes if grant else frozenset()

    def issue_code(self, approval: Approval, *, testing: bool) -> str:
        """Record the consent. Returns a code that works once, within ten minutes."""
        now = self._clock.now()
        scopes = self.granted(approval.sub, approval.client_id) | approval.scopes
        grant = self._store.grants.setdefault((approval.sub, project_of(approval.client_id)), Grant())
        grant.scopes = scopes
        if approval.consent_shown:
            grant.expires_at = now + TESTING_LIFETIME if testing and not scopes <= SIGN_IN_SCOPES else None
        code = "4/0A" + self._new_token(48)
        self._store.codes[code] = _Code(replace(approval, auth_time=int(now)), now + CODE_LIFETIME)
        self._save()
        return code

    def peek_code(self, code: str) -> Approval | None:
        """Return the approval of a valid code without using it up."""
        entry = self._store.codes.get(code)
        return entry.approval if entry and entry.expires_at > self._clock.now() else None

    def redeem_code(self, code: str) -> Approval | None:
        """Use up a code. None if it is unknown, used or expired."""
        approval = self.peek_code(code)
        self._store.codes.pop(code, None)
        return approval

    def issue_access(self, sub: str, *, client_id: str, scopes: frozenset[str], offline: bool) -> str:
        """Issue an access token."""
        self._sweep()
        token = "ya29.a0" + self._new_token(96)
        expires_at = self._clock.now() + self._access_lifetime
        self._store.access[token] = AccessToken(sub, client_id, scopes, expires_at, offline)
        return token

    def issue_refresh(self, sub: str, *, client_id: str, scopes: frozenset[str], cap: int) -> str:
        """Issue a refresh token; beyond `cap` the client's oldest ones for this user end."""
        grant = self._store.grants.get((sub, project_of(client_id)), Grant())
        token = "1//03" + self._new_token(72)
        limited = grant.expires_at if not scopes <= SIGN_IN_SCOPES else None
        self._store.refresh[token] = RefreshToken(sub, client_id, scopes, limited, self._clock.now())
        live = [key for key, held in self._store.refresh.items() if (held.sub, held.client_id) == (sub, client_id)]
        for oldest in live[: max(0, len(live) - cap)]:
            del self._store.refresh[oldest]
        self._save()
        return token

    def find_refresh(self, token: str) -> RefreshToken | None:
        """Return a valid refresh token, or None."""
        held = self._store.refresh.get(token)
        now = self._clock.now()
        if held is None or (held.expires_at is not None and held.expires_at <= now):
            return None
        return held if now - held.last_used < UNUSED_LIFETIME else None

    def use_refresh(self, held: RefreshToken) -> None:
        """Record a use, which restarts the limit of six months."""
        held.last_used = self._clock.now()

    def find_access(self, token: str) -> AccessToken | None:
        """Return a valid access token, or None."""
        held = self._store.access.get(token)
        return held if held is not None and held.expires_at > self._clock.now() else None

    def holder(self, token: str) -> tuple[str, str] | None:
        """Return (sub, client id) of a valid access or refresh token, or None."""
        held = self.find_access(token) or self.find_refresh(token)
        return (held.sub, held.client_id) if held else None

    def revoke(self, sub: str, *, project: str | None = None) -> None:
        """End a grant with its codes and tokens for every client of the project; without `project`, of all projects."""
        store = self._store

        def survives(owner: str, client_id: str) -> bool:
            return owner != sub or (project is not None and project_of(client_id) != project)

        store.grants = {key: grant for key, grant in store.grants.items() if survives(*key)}
        store.codes = {k: c for k, c in store.codes.items() if survives(c.approval.sub, c.approval.client_id)}
        store.refresh = {key: held for key, held in store.refresh.items() if survives(held.sub, held.client_id)}
        store.access = {key: held for key, held in store.access.items() if survives(held.sub, held.client_id)}
        self._save()

    def expire_access_tokens(self, sub: str) -> int:
        """End the user's access tokens. Returns their number. Refresh tokens stay valid."""
        dead = [token for token, held in self._store.access.items() if held.sub == sub]
        self._drop(self._store.access, dead)
        return len(dead)

    def end_by_password(self, sub: str) -> int:
        """End every refresh token with a Gmail scope, as a change of password does. Returns their number."""
        dead = [t for t, held in self._store.refresh.items() if held.sub == sub and held.scopes & GMAIL_SCOPES]
        self._drop(self._store.refresh, dead)
        self.expire_access_tokens(sub)
        self._save()
        return len(dead)

    def _save(self) -> None:
        if self._file is not None:
            self._file.save(KeptGrants(self._store.grants, self._store.refresh))

    @staticmethod
    def _drop[T](tokens: dict[str, T], dead: Iterable[str]) -> None:
        for token in dead:
            del tokens[token]

    def _sweep(self) -> None:
        """Drop expired tokens and codes whenever the store has doubled: bounds memory in long runs."""
        store, now = self._store, self._clock.now()
        if len(store.access) < self._sweep_at:
            return
        store.access = {token: held for token, held in store.access.items() if held.expires_at > now}
        store.codes = {code: held for code, held in store.codes.items() if held.expires_at > now}
        self._sweep_at = max(1000, 2 * len(store.access))
