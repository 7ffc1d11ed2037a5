"""The bounds of an HTTP server against its clients, and the refusals of requests that exceed them."""

import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from starlette.responses import PlainTextResponse, Response

# Descriptors for everything but clients' connections: databases, services, files.
OTHER_DESCRIPTORS = 256
# A process raises its own limit of descriptors up to this, if the system allows it.
ENOUGH_DESCRIPTORS = 65_536


class Refusal(Enum):
    """A request that is answered without the application, with its status, code and explanation."""

    MALFORMED = (HTTPStatus.BAD_REQUEST, "malformed_request", "The request is not valid HTTP.")
    TIMEOUT = (HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request did not arrive in time.")
    LONG_URL = (HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", "The URL is too long.")
    LARGE_HEAD = (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "The headers are too many or too large.",
    )
    CONNECTIONS = (HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", "Too many requests are open.")

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail


type RenderRefusal = Callable[[Refusal], Response]


def plain_refusal(refusal: Refusal) -> Response:
    """Return the refusal as plain text."""
    return PlainTextResponse(refusal.detail, refusal.status)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What clients may take of a server. The defaults suit a server that strangers reach."""

    # Bytes of the whole head, and of method, URL and version; one that a browser or proxy sends is far smaller.
    head_bytes: int = 32 * 1024
    # RFC 9110 section 4.1 recommends that 8,000 are supported.
    url_bytes: int = 8 * 1024
    headers: int = 100
    # Seconds from the first byte, or from the connection, to the end of the head.
    head_seconds: float = 10.0
    # Every so many seconds of a body bring so many bytes per second, or its end.
    body_seconds: float = 20.0
    body_rate: int = 1_000
    # Seconds without a request after which a connection is closed: more than load balancers keep theirs (60 s; 600 s at
    # most), so that none sends a request into a connection that is being closed.
    idle_seconds: int = 620
    # Seconds in which a client takes some of a response that fills its buffers.
    stall_seconds: float = 60.0
    # Bytes of responses that clients have not taken, of all connections together.
    unread_bytes: int = 48 * 1024 * 1024
    connections: int = 1_024
    # Connections of an IPv4 address, or of a /64 in IPv6, which a subscriber has to itself (RFC 6177).
    connections_per_address: int = 256
    # Proxies, whose connections are those of many clients.
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def fitted(self) -> Self:
        """Return bounds whose connections fit into the descriptors that the system allows, which are raised first."""
        allowed = raise_descriptor_limit()
        return replace(self, connections=max(1, min(self.connections, allowed - OTHER_DESCRIPTORS)))


def raise_descriptor_limit() -> int:
    """Raise the limit of this process's descriptors as far as the system allows and they are useful; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return ENOUGH_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
