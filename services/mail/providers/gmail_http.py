"""Connections to Gmail."""

import httpx

# Seconds. A batch of large messages can take its time; a connection that is not made soon will not be.
_TIMEOUT = httpx.Timeout(60, connect=5)


def create_gmail_client(*, connections: int) -> httpx.AsyncClient:
    """A client that keeps up to `connections` open and makes four times as many in need. Close it."""
    return httpx.AsyncClient(
        timeout=_TIMEOUT,
        follow_redirects=False,
        # The environment's proxies and .netrc must not see tokens unless the operator says so in our own settings.
        trust_env=False,
        limits=httpx.Limits(max_connections=connections * 4, max_keepalive_connections=connections),
        headers={"User-Agent": "mailroom (gzip)", "Accept-Encoding": "gzip"},
    )
