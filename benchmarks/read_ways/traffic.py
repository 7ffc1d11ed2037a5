"""A cheap client: HTTP/1.1 over kept connections, each requesting again as soon as it has its response."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from urllib.parse import urlsplit

_HEAD = "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A GET with an access token."""

    path: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds per request, sorted, and from the first to the last."""

    latencies: Sequence[float]
    seconds: float

    def percentile(self, percent: float) -> float:
        """Return milliseconds."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))] * 1000


async def ask(url: str, requests: Sequence[Request], *, connections: int) -> Times:
    """Send all requests, shared by `connections` connections. Raises AssertionError for a status other than 200."""
    shares = [requests[number::connections] for number in range(connections)]
    began = time.perf_counter()
    found = await asyncio.gather(*(_connection(url, share) for share in shares if share))
    return Times(latencies=sorted(chain.from_iterable(found)), seconds=time.perf_counter() - began)


async def _connection(url: str, requests: Sequence[Request]) -> list[float]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    latencies = []
    for request in requests:
        began = time.perf_counter()
        writer.write(_HEAD.format(path=request.path, host=address.netloc, token=request.token).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        body = await reader.readexactly(int(length[1]))
        assert head.startswith(b"HTTP/1.1 200 "), (head, body[:500])
        latencies.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return latencies
