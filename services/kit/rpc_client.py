"""Calling another service: channels with safe retries, deadlines that shrink, errors that keep their meaning."""

import json
from collections.abc import Iterable

from grpc import aio

from services.kit.context import REQUEST_ID_HEADER, remaining, request_id
from services.kit.rpc_errors import from_rpc_error
from services.kit.rpc_server import MAX_MESSAGE_BYTES

# What a unary call may take unless its caller has less time left.
DEFAULT_TIMEOUT = 10.0


def open_channel(address: str, *, idempotent: Iterable[tuple[str, str]]) -> aio.Channel:
    """A channel to `host:port` that retries UNAVAILABLE for the given (service, method) pairs only.

    Source: gRPC service config (grpc/grpc-proto service_config.proto).
    """
    retried = {
        "name": [{"service": service, "method": method} for service, method in idempotent],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.05s",
            "maxBackoff": "1s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
    return aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", json.dumps({"methodConfig": [retried]})),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A peer that was restarted is found again within a second instead of gRPC's default of up to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A replacement can have another address under the same name.
            ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ],
    )


async def call[Request, Response](
    method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, timeout: float = DEFAULT_TIMEOUT
) -> Response:
    """Calls a unary method within what is left of the current request's time. Raises AppError."""
    try:
        return await method(request, timeout=remaining(timeout), metadata=((REQUEST_ID_HEADER, request_id()),))
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from error
