"""A cache of published signing keys (JWKS, RFC 7517), independent of the transport that fetches them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import jwt
import structlog

log = structlog.get_logger()

type Algorithm = Literal["RS256", "ES256"]

# An unknown key id causes a fetch at most this often while the set is fresh: forged tokens must not become requests.
UNKNOWN_KEY_INTERVAL = 60.0


class KeysUnavailableError(Exception):
    """The keys cannot be fetched now. The text says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """A JSON Web Key Set as published; it is fresh for `max_age` seconds."""

    document: bytes
    max_age: float


type FetchKeys = Callable[[], Awaitable[PublishedKeys]]


class KeySet:
    """Verification keys by id. One fetch runs at a time; the last good set stays in use while fetching fails.

    `fetch` raises KeysUnavailableError, and is then not called for `retry_interval` seconds.
    """

    def __init__(
        self, fetch: FetchKeys, *, algorithm: Algorithm, retry_interval: float, monotonic: Callable[[], float]
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._retry_interval = retry_interval
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._document: bytes | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._failure: str | None = None
        self._stale_at = self._retry_at = self._unknown_at = float("-inf")

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key with this id, or the only key for None; None if it is not published.

        Raises KeysUnavailableError for a key that is unknown while the newest set cannot be fetched.
        """
        stale = self._monotonic() >= self._stale_at
        # One caller at a time renews a stale set while the others use it; for an unknown key every caller waits.
        if self._pick(key_id) is None or (stale and not self._lock.locked()):
            await self._renew(key_id)
        key = self._pick(key_id)
        if key is None and self._failure is not None:
            raise KeysUnavailableError(self._failure)
        return key

    async def document(self) -> bytes:
        """Return the set as published, also while a newer one cannot be fetched. Raises KeysUnavailableError."""
        if self._monotonic() >= self._stale_at:
            await self._renew()
        if self._document is None:
            raise KeysUnavailableError(self._failure or "not fetched")
        return self._document

    def _pick(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    async def _renew(self, *wanted: str | None) -> None:
        """Fetch the set if it is stale, or if the wanted key is not in it."""
        async with self._lock:
            now = self._monotonic()
            fresh = now < self._stale_at
            unknown = any(self._pick(key_id) is None for key_id in wanted) and now >= self._unknown_at
            if now < self._retry_at or (fresh and not unknown):
                return
            try:
                published = await self._fetch()
                self._keys = _parse(published.document, self._algorithm)
            except KeysUnavailableError as error:
                log.warning("signing keys not fetched", reason=str(error), kept=self._document is not None)
                self._failure = str(error)
                self._retry_at = self._monotonic() + self._retry_interval
                return
            self._document, self._failure = published.document, None
            self._stale_at = self._monotonic() + published.max_age
            if fresh:
                self._unknown_at = self._monotonic() + UNKNOWN_KEY_INTERVAL


def _parse(document: bytes, algorithm: Algorithm) -> dict[str, jwt.PyJWK]:
    keys = {}
    for number, entry in enumerate(_listed(document)):
        # RFC 7517, section 5: keys of unknown kinds are ignored, not errors.
        if not isinstance(entry, dict) or not _is_for(entry, algorithm):
            continue
        try:
            key = jwt.PyJWK(entry, algorithm)
        except (jwt.PyJWTError, ValueError):
            continue
        # A signature by an RSA key of less than 2,048 bits proves nothing (RFC 7518 section 3.3).
        if key.Algorithm.check_key_length(key.key) is None:
            keys[str(entry.get("kid", f"unnamed {number}"))] = key
    return keys


def _listed(document: bytes) -> list[Any]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise KeysUnavailableError("not JSON") from error
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise KeysUnavailableError("not a key set")
    return listed


def _is_for(entry: dict[str, Any], algorithm: Algorithm) -> bool:
    return (entry.get("use", "sig"), entry.get("alg", algorithm)) == ("sig", algorithm)
