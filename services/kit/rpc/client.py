"""Calling another service: channels with safe retries, deadlines that shrink, errors that keep their meaning."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable

import grpc
from grpc import aio
from opentelemetry.trace import Tracer

from services.kit.context import REQUEST_ID_HEADER, remaining, request_id
from services.kit.errors import deadline_exceeded
from services.kit.rpc.errors import from_rpc_error
from services.kit.rpc.redialing import RedialingChannel
from services.kit.rpc.server import MAX_MESSAGE_BYTES
from services.kit.rpc.telemetry import client_interceptors
from services.kit.tls.identity import Pem, ServiceIdentity, WatchedIdentity

# What a unary call may take unless its caller has less time left.
DEFAULT_TIMEOUT = 10.0
# What a stream may take as a whole, and between two of its messages.
STREAM_TIMEOUT = 3600.0
IDLE_TIMEOUT = 30.0
# Below the time that most calls may take, so that one that meets a dead connection is repeated over another.
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
    """A channel to `host:port` that retries what a peer that is away or going did not answer: given pairs only.

    `retried` are these (service, method) pairs: a repeat does no harm. Whatever the address, it speaks to nobody
    whose certificate does not name the service `peer`; without an identity it is in plaintext and to anybody. A
    connection that is silent for `keepalive_seconds` has to prove that it lives, within as many again. Raises
    IdentityError if the identity cannot be used.
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
    """Source: gRPC service config (grpc/grpc-proto service_config.proto)."""
    policy = {
        "name": [{"service": service, "method": method} for service, method in retried],
        "retryPolicy": {
            # Two seconds in all: longer than it takes to find a replacement by its name (below), or to dial anew.
            "maxAttempts": 5,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2.5,
            # A server that is about to stop cancels a call that arrives in that very moment.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }
    # Where a name has several addresses, calls go to all of them by turns.
    balancing: list[dict[str, object]] = [{"round_robin": {}}]
    return [
        ("grpc.service_config", json.dumps({"methodConfig": [policy], "loadBalancingConfig": balancing})),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A peer that was restarted is found again within a second instead of gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A replacement can have another address under the same name.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ]


def _keepalive(seconds: float) -> list[tuple[str, int]]:
    """Source: gRPC's keepalive guide (grpc/grpc doc/keepalive.md).

    A machine that is gone closes nothing: calls would hang in connections to it until the kernel gives them up, which
    takes a quarter of an hour.
    """
    return [
        ("grpc.keepalive_time_ms", round(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(seconds * 1000)),
        # Of other pings, behind which that one may wait.
        ("grpc.http2.ping_timeout_ms", round(seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


async def call[Request, Response](
    method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, timeout: float = DEFAULT_TIMEOUT
) -> Response:
    """Calls a unary method within what is left of the current request's time. Raises AppError."""
    try:
        return await method(request, timeout=remaining(timeout), metadata=((REQUEST_ID_HEADER, request_id()),))
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def stream[Request, Response](
    method: aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    *,
    first_seconds: float = IDLE_TIMEOUT,
    idle_seconds: float = IDLE_TIMEOUT,
) -> AsyncGenerator[Response]:
    """The messages of a streaming method; closing the generator ends the call at the peer, too. Raises AppError.

    The first message may take `first_seconds`, each later one `idle_seconds`.
    """
    calling = method(request, timeout=STREAM_TIMEOUT, metadata=((REQUEST_ID_HEADER, request_id()),))
    limit = first_seconds
    try:
        while True:
            async with asyncio.timeout(limit):
                message = await calling.read()
            if message is aio.EOF:
                return
            # What is not the end is a message; the stub cannot tell.
            yield message  # type: ignore[misc]
            limit = idle_seconds
    except TimeoutError:
        raise deadline_exceeded() from None
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        calling.cancel()
