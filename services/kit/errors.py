"""The one error that crosses module and service borders, and its status on each transport."""

from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus

import grpc


class Kind(Enum):
    """A sort of failure, with its gRPC and HTTP status (the mapping of google/rpc/code.proto, refined)."""

    INVALID = (grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST)
    UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED)
    FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN)
    NOT_FOUND = (grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND)
    CONFLICT = (grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.CONFLICT)
    GONE = (grpc.StatusCode.OUT_OF_RANGE, HTTPStatus.GONE)
    RATE_LIMITED = (grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS)
    UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE)
    TIMEOUT = (grpc.StatusCode.DEADLINE_EXCEEDED, HTTPStatus.GATEWAY_TIMEOUT)
    INTERNAL = (grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR)

    def __init__(self, grpc_status: grpc.StatusCode, http_status: HTTPStatus) -> None:
        self.grpc_status = grpc_status
        self.http_status = http_status


class AppError(Exception):
    """A failure that a caller can act on.

    `reason` is stable snake_case from docs/errors.md; `message` is a sentence for people, without secrets;
    `metadata` holds string details, for example `retry_after` in seconds.
    """

    def __init__(self, kind: Kind, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.kind = kind
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


def internal_error() -> AppError:
    """Return the error of a defect of ours, whose cause only the log may tell."""
    return AppError(Kind.INTERNAL, "internal", "Something went wrong on our side.")


def deadline_exceeded() -> AppError:
    """Return the error of a call between services that took longer than the time left for it."""
    return AppError(Kind.TIMEOUT, "deadline_exceeded", "A service did not answer in time.")


def service_unavailable(component: str = "A service", metadata: Mapping[str, str] | None = None) -> AppError:
    """Return the error of a service, database or store that is unavailable; `component` begins the message."""
    return AppError(Kind.UNAVAILABLE, "service_unavailable", f"{component} is unavailable, try again.", metadata)
