"""Fetching a provider's signing keys over HTTP, fresh for as long as its Cache-Control says."""

import re

from services.kit.http.outbound import Egress, HttpResponse
from services.kit.jwks import FetchKeys, KeysUnavailableError, PublishedKeys

# Seconds.
RETRY_INTERVAL = 10.0
FETCH_TIMEOUT = 4.0
DEFAULT_MAX_AGE = 300.0
LONGEST_MAX_AGE = 86400.0
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})", re.IGNORECASE)


def keys_at(url: str, *, egress: Egress) -> FetchKeys:
    """Return a function that fetches the key set published at `url`."""

    async def fetch() -> PublishedKeys:
        try:
            answer = await egress.send("GET", url, timeout=FETCH_TIMEOUT)
        except egress.unavailable as error:
            raise KeysUnavailableError(str(error)) from error
        if answer.status != 200:
            raise KeysUnavailableError(f"HTTP {answer.status}")
        return PublishedKeys(answer.body, max_age=_max_age(answer))

    return fetch


def _max_age(answer: HttpResponse) -> float:
    match = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    return min(float(match[1]), LONGEST_MAX_AGE) if match else DEFAULT_MAX_AGE
