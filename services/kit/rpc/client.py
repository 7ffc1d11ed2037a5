"""Calls to another service: safe retries, shrinking deadlines, and errors that keep their reason."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable

import grpc
from grpc import aio
from opentelemetry.trace import Tracer

from services.kit.context import REQUEST_ID_HEADER, acting_for, remaining, request_id
from services.kit.errors import deadline_exceeded
from services.kit.principals import PRINCIPAL_HEADER
from services.kit.rpc.errors import from_rpc_error
from services.kit.rpc.redialing import RedialingChannel
from services.kit.rpc.server import MAX_MESSAGE_BYTES
from services.kit.rpc.telemetry import client_interceptors
from services.kit.tls.identity import Pem, ServiceIdentity, WatchedIdentity

# Seconds. A unary call takes no longer, and less if its caller has less time left.
DEFAULT_TIMEOUT = 10.0
# Seconds that a stream may take as a whole, and between two of its messages.
STREAM_TIMEOUT = 3600.0
IDLE_TIMEOUT = 30.0
# Seconds. Shorter than most calls' deadline, so that a call over a dead connection is repeated over another one.
KEEPALIVE_SECONDS = 4.0


def open_channel(
    address: str,
    *,
    peer: str,
    identity: ServiceIdentity | None,
    retried: Iterable[tuple[str, str]],
    tracer: Tracer | None = None,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
) -> aio.Channel:
    """Open a channel to `host:port`.

    `retried` are the (service, method) pairs that are safe to repeat: they are retried when the peer is unavailable.
    The peer's certificate must name the service `peer`; without an identity the channel is in plaintext and checks no
    peer. A connection that is silent for `keepalive_seconds` is pinged, and closed if the peer does not respond within
    as many seconds. Raises IdentityError if the identity cannot be used.
    """
    interceptors = client_interceptors(tracer)
    options = [*_options(retried), *_keepalive(keepalive_seconds)]
    if identity is None:
        return aio.insecure_channel(address, interceptors=interceptors, options=options)

    def dial(pem: Pem) -> aio.Channel:
        credentials = grpc.ssl_channel_credentials(pem.ca, private_key=pem.key, certificate_chain=pem.certificate)
        named = [*options, ("grpc.ssl_target_name_override", peer)]
        return aio.secure_channel(address, credentials, interceptors=interceptors, options=named)

    return RedialingChannel(dial, WatchedIdentity(identity))


def _options(retried: Iterable[tuple[str, str]]) -> list[tuple[str, str | int]]:
    """Return the channel options. Source: gRPC service config (grpc/grpc-proto service_config.proto)."""
    policy = {
        "name": [{"service": service, "method": method} for service, method in retried],
        "retryPolicy": {
            # Two seconds in all: longer than resolving the name of a replacement (below) or connecting again takes.
            "maxAttempts": 5,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2.5,
            # A server that begins to stop cancels the calls that arrive at that moment.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }
    # Calls are spread over all addresses of a name.
    balancing: list[dict[str, object]] = [{"round_robin": {}}]
    return [
        ("grpc.service_config", json.dumps({"methodConfig": [policy], "loadBalancingConfig": balancing})),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # Reconnect to a restarted peer within a second instead of gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A replacement can have the same name at another address.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ]


def _keepalive(seconds: float) -> list[tuple[str, int]]:
    """Return the options of keepalive pings. Source: gRPC's keepalive guide (grpc/grpc doc/keepalive.md).

    A machine that vanishes closes no connections: without pings, calls would hang until the kernel gives up, after a
    quarter of an hour.
    """
    return [
        ("grpc.keepalive_time_ms", round(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(seconds * 1000)),
        # Other pings, behind which a keepalive ping may wait.
        ("grpc.http2.ping_timeout_ms", round(seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _metadata() -> tuple[tuple[str, str], ...]:
    principal = acting_for()
    own = ((REQUEST_ID_HEADER, request_id()),)
    return (*own, (PRINCIPAL_HEADER, principal)) if principal else own


async def call[Request, Response](
    method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, timeout: float = DEFAULT_TIMEOUT
) -> Response:
    """Call a unary method within the time that the current request has left. Raises AppError."""
    try:
        return await method(request, timeout=remaining(timeout), metadata=_metadata())
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def stream[Request, Response](
    method: aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    *,
    first_seconds: float = IDLE_TIMEOUT,
    idle_seconds: float = IDLE_TIMEOUT,
) -> AsyncGenerator[Response]:
    """Yield the messages of a streaming method; closing the generator ends the call at the peer. Raises AppError.

    The first message may take `first_seconds`, each later one `idle_seconds`.
    """
    calling = method(request, timeout=STREAM_TIMEOUT, metadata=_metadata())
    limit = first_seconds
    try:
        while True:
            async with asyncio.timeout(limit):
                message = await calling.read()
            if message is aio.EOF:
                return
            # All but the end marker are messages; the type stub does not say so.
            yield message  # type: ignore[misc]
            limit = idle_seconds
    except TimeoutError:
        raise deadline_exceeded() from None
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        calling.cancel()
