"""Connections to Gmail."""

import re
from typing import Any

import httpx

from services.kit.observe.http_calls import CallObserver, ObservedClient

# Seconds. A batch of large messages can take its time; a connection that is not made soon will not be.
_TIMEOUT = httpx.Timeout(60, connect=5)
# The paths of users.* methods as the reference has them, and what follows "gmail" in their names.
_CALLS = {
    re.compile(pattern): name
    for pattern, name in {
        r"/profile": "getProfile",
        r"/messages": "messages.list",
        r"/messages/[^/]+": "messages.get",
        r"/messages/[^/]+/attachments/[^/]+": "messages.attachments.get",
        r"/threads/[^/]+": "threads.get",
        r"/history": "history.list",
        r"/labels": "labels.list",
        r"/watch": "watch",
        r"/stop": "stop",
    }.items()
}


def create_gmail_client(*, connections: int, observer: CallObserver) -> httpx.AsyncClient:
    """A client that keeps up to `connections` open and makes four times as many in need. Close it."""
    return _Client(
        observer=observer,
        name_call=name_call,
        timeout=_TIMEOUT,
        follow_redirects=False,
        # The environment's proxies and .netrc must not see tokens unless the operator says so in our own settings.
        trust_env=False,
        limits=httpx.Limits(max_connections=connections * 4, max_keepalive_connections=connections),
        headers={"User-Agent": "mailroom (gzip)", "Accept-Encoding": "gzip"},
    )


def name_call(url: httpx.URL) -> str:
    """The method that a request to `url` calls, such as `gmail.messages.get`; everything else is a batch."""
    _, users, path = url.path.partition("/gmail/v1/users/me")
    if not users:
        return "gmail.batch"
    return next((f"gmail.{name}" for pattern, name in _CALLS.items() if pattern.fullmatch(path)), "gmail.other")


class _Client(ObservedClient):
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
