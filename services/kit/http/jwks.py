"""A provider's published signing keys (JWKS, RFC 7517), cached as its Cache-Control allows."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import jwt
import structlog

from services.kit.http.outbound import Egress, HttpResponse

log = structlog.get_logger()

DEFAULT_MAX_AGE = 300.0
LONGEST_MAX_AGE = 86400.0
# How often an unknown key id may cause a fetch before the set is stale: forged tokens must not become requests.
UNKNOWN_KEY_INTERVAL = 60.0
RETRY_INTERVAL = 10.0
FETCH_TIMEOUT = 4.0
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})", re.IGNORECASE)


class KeySet:
    """Finds verification keys by id. One fetch at a time; the last good set stays in use when fetching fails."""

    def __init__(self, *, url: str, egress: Egress, monotonic: Callable[[], float]) -> None:
        self._url = url
        self._egress = egress
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._stale_at = float("-inf")
        self._forced_at = float("-inf")
        self._failed_at = float("-inf")

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """The RS256 key with this id, or the only key if a token names none; None if it is not published.

        Raises what `egress` raises if no set could be fetched so far.
        """
        async with self._lock:
            if self._monotonic() >= self._stale_at:
                await self._fetch()
            elif self._pick(key_id) is None and self._monotonic() - self._forced_at >= UNKNOWN_KEY_INTERVAL:
                # The provider may have rotated its keys before the cached set's time was up.
                self._forced_at = self._monotonic()
                await self._fetch()
        if self._keys is None:
            raise self._egress.unavailable("no signing keys could be fetched")
        return self._pick(key_id)

    def _pick(self, key_id: str | None) -> jwt.PyJWK | None:
        keys = self._keys or {}
        if key_id is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(key_id)

    async def _fetch(self) -> None:
        if self._monotonic() - self._failed_at < RETRY_INTERVAL:
            return
        try:
            answer = await self._egress.send("GET", self._url, timeout=FETCH_TIMEOUT)
            self._keys = _rs256_keys(self._listed(answer))
        except self._egress.unavailable as error:
            self._failed_at = self._monotonic()
            log.warning("fetching the provider's signing keys failed", reason=str(error), kept=self._keys is not None)
            return
        self._stale_at = self._monotonic() + _max_age(answer)

    def _listed(self, answer: HttpResponse) -> list[Any]:
        document = answer.json_object()
        listed = document.get("keys") if document is not None and answer.status == 200 else None
        if not isinstance(listed, list):
            raise self._egress.unavailable(f"not a key set, HTTP {answer.status}")
        return listed


def _rs256_keys(listed: list[Any]) -> dict[str, jwt.PyJWK]:
    keys = {}
    for number, entry in enumerate(listed):
        # RFC 7517, section 5: keys of unknown kinds are ignored, not errors.
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        if entry.get("alg", "RS256") != "RS256":
            continue
        try:
            keys[str(entry.get("kid", f"unnamed {number}"))] = jwt.PyJWK(entry, "RS256")
        except (jwt.PyJWTError, ValueError):
            continue
    return keys


def _max_age(answer: HttpResponse) -> float:
    match = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    return min(float(match[1]), LONGEST_MAX_AGE) if match else DEFAULT_MAX_AGE
