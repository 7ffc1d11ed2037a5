"""Connections to Gmail."""

import re
import socket
from typing import Any, Final

import httpx

from services.kit.observe.http_calls import CallObserver, ObservedClient
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines

# The extension of a request that says whether it gets a connection of its own, which no other request has used or will.
OWN_CONNECTION: Final = "mailroom.own_connection"
# Seconds until a connection over which nothing comes is asked for a sign of life, and between two such questions.
_PROBE_SECONDS = 5
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


def create_gmail_client(*, observer: CallObserver, deadlines: Deadlines = DEADLINES) -> httpx.AsyncClient:
    """A client that makes as many connections as there are calls at a time, so that none waits for another. Close it.

    Its callers bound how many that are.
    """
    return _Client(
        observer=observer,
        name_call=name_call,
        transport=_Transport(deadlines),
        follow_redirects=False,
        headers={"User-Agent": "mailroom (gzip)", "Accept-Encoding": "gzip"},
    )


def name_call(url: httpx.URL) -> str:
    """The method that a request to `url` calls, such as `gmail.messages.get`; everything else is a batch."""
    _, users, path = url.path.partition("/gmail/v1/users/me")
    if not users:
        return "gmail.batch"
    return next((f"gmail.{name}" for pattern, name in _CALLS.items() if pattern.fullmatch(path)), "gmail.other")


class _Transport(httpx.AsyncBaseTransport):
    """Sends requests over kept connections, or each over one of its own (OWN_CONNECTION)."""

    def __init__(self, deadlines: Deadlines) -> None:
        tls = httpx.create_ssl_context(trust_env=False)
        options = _socket_options(deadlines.between)

        def transport(*, kept: int | None) -> httpx.AsyncHTTPTransport:
            # Without a bound no call waits for another one's connection.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=deadlines.kept)
            # The environment's proxies must not see tokens unless the operator says so in our own settings.
            return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, socket_options=options)

        self._kept = transport(kept=None)
        self._own = transport(kept=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's transports."""
        transport = self._own if request.extensions.get(OWN_CONNECTION) else self._kept
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._kept.aclose()
        await self._own.aclose()


def _socket_options(silence: float) -> list[tuple[int, int, int]]:
    """A connection is dead when what was sent is not acknowledged for `silence` seconds. Source: tcp(7)."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    values = {
        "TCP_USER_TIMEOUT": round(silence * 1000),
        "TCP_KEEPIDLE": _PROBE_SECONDS,
        "TCP_KEEPINTVL": _PROBE_SECONDS,
    }
    # Systems other than Linux lack some.
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in values.items() if hasattr(socket, name)
    ]
    return options


class _Client(ObservedClient):
    """Keeps no cookies: the calls of many users go through it, and none may carry what another one's answer set.

    To look for them would also be an eighth of a call's CPU time.
    """

    def __init__(self, **options: Any) -> None:
        # As for the transport; .netrc is read for requests, not by transports.
        super().__init__(trust_env=False, **options)
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
