"""Small HTTP calls to a provider: redirects off, sizes and times capped, failures as one exception of the caller's."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from services.kit.observe.http_calls import CallObserver, NameCall, ObservedClient
from services.kit.tls.authorities import public_authorities

MAX_BODY_BYTES = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class HttpResponse:
    """A complete HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is a 2xx: some providers answer Created or No Content."""
        return 200 <= self.status < 300

    def json_object(self) -> dict[str, Any] | None:
        """Return the body if it is a JSON object, whatever its content type; None for any other body, such as HTML."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def create_http_client(*, observer: CallObserver, name_call: NameCall) -> httpx.AsyncClient:
    """Return the client for all calls to providers. It uses a configured proxy, except for this machine."""
    return ObservedClient(
        observer=observer,
        name_call=name_call,
        follow_redirects=False,
        verify=public_authorities(trust_env=True),
        # `send` limits the whole call, the wait for a free connection included.
        timeout=None,
        # Callers limit their calls; with a limit here, calls that hang would use up the time of others.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20),
        # A compressed body can be small on the wire and huge in memory.
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "mailroom"},
        mounts={f"all://{host}": None for host in _LOOPBACK},
    )


class Egress:
    """Calls to providers. Every failure is raised as `unavailable`, which takes a text without secrets."""

    def __init__(self, client: httpx.AsyncClient, *, unavailable: type[Exception]) -> None:
        self.unavailable = unavailable
        self._client = client

    async def send(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        form: Mapping[str, str] | None = None,
        authorization: str | None = None,
    ) -> HttpResponse:
        """Send the request and read the response within `timeout` seconds. Raises `unavailable`.

        `authorization` is the value of that header.
        """
        headers = {} if authorization is None else {"authorization": authorization}
        try:
            async with (
                asyncio.timeout(timeout),
                self._client.stream(method, url, data=form, headers=headers) as response,
            ):
                body = await self._read(response)
                return HttpResponse(response.status_code, response.headers, body)
        except TimeoutError as error:
            raise self.unavailable("timed out") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            # The texts of the library can quote the request.
            raise self.unavailable(type(error).__name__) from error

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise self.unavailable("the answer is too large")
        return bytes(body)
