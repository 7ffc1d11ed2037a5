"""Codes and tokens of Yandex ID.

Rules of Yandex (reference "OAuth for web services"): a code works once within ten minutes; both tokens live for a
year; each refresh brings a new refresh token, and another access token only late in the present one's life; tokens for
devices can be revoked, and the newest 20 of a user and client are kept; a new password ends everything.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from services.sandbox.clock import Clock
from services.sandbox.oauth.kept_file import KeptFile
from services.sandbox.yandex.grants_file import Consent, KeptTokens, TokenPair
from services.sandbox.yandex.rules import AllRules

CODE_LIFETIME = 600.0


@dataclass(frozen=True, slots=True)
class Approval:
    """A user's consent, as a code carries it to the token endpoint."""

    sub: str
    client_id: str
    scopes: frozenset[str]
    requested: frozenset[str]
    device_id: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str = "plain"


class RefreshExpiredError(Exception):
    """The refresh token was genuine and has expired."""


class YandexGrants:
    """The consents, codes and tokens of all users, in memory; with a file, consents and tokens outlive the process."""

    def __init__(
        self,
        *,
        clock: Clock,
        rules: AllRules,
        new_token: Callable[[int], str],
        file: KeptFile[KeptTokens] | None = None,
    ) -> None:
        """Raises OSError or ValueError if the file cannot be read."""
        self._clock = clock
        self._rules = rules
        self._new_token = new_token
        self._file = file
        kept = (file.load() if file is not None else None) or KeptTokens()
        self._consents = {(consent.sub, consent.client_id): consent.scopes for consent in kept.consents}
        self._codes: dict[str, tuple[Approval, float]] = {}
        self._pairs = list(kept.pairs)

    def granted(self, sub: str, client_id: str) -> frozenset[str]:
        """Return the scopes that the user has granted to the client."""
        return self._consents.get((sub, client_id), frozenset())

    def issue_code(self, approval: Approval) -> str:
        """Record the consent. Returns a code that works once, within ten minutes."""
        key = (approval.sub, approval.client_id)
        self._consents[key] = self.granted(*key) | approval.scopes
        now = self._clock.now()
        self._codes = {code: entry for code, entry in self._codes.items() if entry[1] > now}
        code = hashlib.sha256(self._new_token(24).encode()).hexdigest()[:16]
        self._codes[code] = (approval, now + CODE_LIFETIME)
        self._save()
        return code

    def peek_code(self, code: str) -> Approval | None:
        """Return the approval of a valid code without using it up."""
        approval, expires_at = self._codes.get(code, (None, 0.0))
        return approval if expires_at > self._clock.now() else None

    def redeem_code(self, code: str) -> Approval | None:
        """Use up a code. None if it is unknown, used or expired."""
        approval = self.peek_code(code)
        self._codes.pop(code, None)
        return approval

    def issue(self, sub: str, *, client_id: str, scopes: frozenset[str], device_id: str | None) -> TokenPair:
        """Issue tokens after a consent."""
        rules, now = self._rules.common, self._clock.now()
        if device_id is not None and rules.same_device == "replaces":
            self._drop(lambda pair: (pair.sub, pair.client_id, pair.device_id) == (sub, client_id, device_id))
        pair = TokenPair(
            sub=sub,
            client_id=client_id,
            scopes=scopes,
            device_id=device_id,
            access="y0_" + self._new_token(44),
            access_expires_at=now + rules.token_lifetime,
            refresh="1:" + self._new_token(64),
            refresh_expires_at=now + rules.token_lifetime,
        )
        self._pairs.append(pair)
        of_devices = [
            other for other in self._pairs if (other.sub, other.client_id) == (sub, client_id) and other.device_id
        ]
        beyond = of_devices[: max(0, len(of_devices) - rules.device_cap)]
        self._drop(lambda pair: pair in beyond)
        self._save()
        return pair

    def refresh(self, pair: TokenPair) -> TokenPair:
        """Rotate the refresh token, and the access token if it is late in its life. Raises RefreshExpiredError."""
        rules, now = self._rules.common, self._clock.now()
        if pair.refresh_expires_at <= now:
            raise RefreshExpiredError
        pair.refresh = "1:" + self._new_token(64)
        pair.refresh_expires_at = now + rules.token_lifetime
        if pair.access_expires_at - now < rules.renew_below:
            pair.access = "y0_" + self._new_token(44)
            pair.access_expires_at = now + rules.token_lifetime
        self._save()
        return pair

    def find_refresh(self, token: str) -> TokenPair | None:
        """Return the pair of a refresh token, an expired one included, or None."""
        return next((pair for pair in self._pairs if pair.refresh == token), None)

    def find_access(self, token: str) -> TokenPair | None:
        """Return the pair of a valid access token, or None."""
        now = self._clock.now()
        return next((pair for pair in self._pairs if pair.access == token and pair.access_expires_at > now), None)

    def end(self, pair: TokenPair) -> None:
        """End both tokens of a pair; the consent stays."""
        self._drop(lambda other: other is pair)
        self._save()

    def revoke(self, sub: str) -> None:
        """End all tokens and consents of the user, as on the page of data access."""
        self._drop(lambda pair: pair.sub == sub)
        self._consents = {key: scopes for key, scopes in self._consents.items() if key[0] != sub}
        self._codes = {code: entry for code, entry in self._codes.items() if entry[0].sub != sub}
        self._save()

    def expire_access_tokens(self, sub: str) -> int:
        """Expire the user's access tokens; refresh tokens stay valid. Returns their number."""
        now = self._clock.now()
        alive = [pair for pair in self._pairs if pair.sub == sub and pair.access_expires_at > now]
        for pair in alive:
            pair.access_expires_at = now
        self._save()
        return len(alive)

    def end_by_password(self, sub: str) -> int:
        """End all tokens of the user, as a new password does. Returns the number of refresh tokens."""
        ended = self._drop(lambda pair: pair.sub == sub)
        self._save()
        return ended

    def _drop(self, is_dead: Callable[[TokenPair], bool]) -> int:
        before = len(self._pairs)
        self._pairs = [pair for pair in self._pairs if not is_dead(pair)]
        return before - len(self._pairs)

    def _save(self) -> None:
        if self._file is not None:
            consents = [Consent(sub, client_id, scopes) for (sub, client_id), scopes in self._consents.items()]
            self._file.save(KeptTokens(consents, self._pairs))
