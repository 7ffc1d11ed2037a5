"""Connections to Gmail."""

from typing import Any

import httpx

# Seconds. A batch of large messages can take its time; a connection that is not made soon will not be.
_TIMEOUT = httpx.Timeout(60, connect=5)


def create_gmail_client(*, connections: int) -> httpx.AsyncClient:
    """A client that keeps up to `connections` open and makes four times as many in need. Close it."""
    return _Client(
        timeout=_TIMEOUT,
        follow_redirects=False,
        # The environment's proxies and .netrc must not see tokens unless the operator says so in our own settings.
        trust_env=False,
        limits=httpx.Limits(max_connections=connections * 4, max_keepalive_connections=connections),
        headers={"User-Agent": "mailroom (gzip)", "Accept-Encoding": "gzip"},
    )


class _Client(httpx.AsyncClient):
    """Keeps no cookies: the calls of many users go through it, and none may carry what another one's answer set.

    To look for them would also be an eighth of a call's CPU time.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._no_cookies = _NoCookies()

    @property
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return self._no_cookies

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise NotImplementedError


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        pass
