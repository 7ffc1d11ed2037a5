"""Small calls out to a provider: redirects off, sizes and times capped, every failure one of ours."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from services.kit.observe.http_calls import CallObserver, NameCall, ObservedClient

MAX_BODY_BYTES = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class HttpResponse:
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Any 2xx: Google answers 200, others say Created or No Content."""
        return 200 <= self.status < 300

    def json_object(self) -> dict[str, Any] | None:
        """The body if it is a JSON object, whatever its content type says; None for HTML and the like."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def create_http_client(*, observer: CallObserver, name_call: NameCall) -> httpx.AsyncClient:
    """The client for all calls to providers. A configured proxy is used, except for this machine itself."""
    return ObservedClient(
        observer=observer,
        name_call=name_call,
        follow_redirects=False,
        # `send` times the whole call, waiting for a free connection included.
        timeout=None,
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=20),
        # A compressed body can be small on the wire and huge in memory.
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "mailroom"},
        mounts={f"all://{host}": None for host in _LOOPBACK},
    )


class Egress:
    """A way out of the service. `unavailable` is what every failure becomes; it takes a text without secrets."""

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
        bearer: str | None = None,
    ) -> HttpResponse:
        """Sends the request and reads the answer within `timeout` seconds. Raises `unavailable`."""
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
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
            # The library's texts can quote the request.
            raise self.unavailable(type(error).__name__) from error

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise self.unavailable("the answer is too large")
        return bytes(body)
