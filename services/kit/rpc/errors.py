"""Conversion of AppError to gRPC status and back; google.rpc.ErrorInfo (AIP-193) carries reason and metadata."""

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.kit.errors import AppError, Kind, deadline_exceeded, internal_error, service_unavailable

DOMAIN = "mailroom"
_DETAILS_KEY = "grpc-status-details-bin"
_KIND_BY_STATUS = {kind.grpc_status: kind for kind in Kind}

# gRPC's own retries (gRFC A6) end when the server answers with a negative number.
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")

TrailingMetadata = tuple[tuple[str, str | bytes], ...]


def to_trailing_metadata(error: AppError) -> TrailingMetadata:
    """Return the rich status of `error` as gRPC trailing metadata.

    The caller's channel does not retry an error with `retry_after`.
    """
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    detail = any_pb2.Any()
    detail.Pack(info)
    code = code_pb2.Code.Value(error.kind.grpc_status.name)
    status = status_pb2.Status(code=code, message=error.message, details=[detail])
    rich = (_DETAILS_KEY, status.SerializeToString())
    return (rich, _NO_RETRY) if "retry_after" in error.metadata else (rich,)


def from_rpc_error(error: grpc.aio.AioRpcError) -> AppError:
    """Return the AppError that a peer raised, or the closest one for a failure of the transport."""
    # The type stub names the synchronous call; the asynchronous error has the same three methods.
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            kind = _KIND_BY_STATUS.get(error.code(), Kind.INTERNAL)
            return AppError(kind, info.reason, error.details() or "", info.metadata)
    return _transport_error(error.code())


def _transport_error(code: grpc.StatusCode) -> AppError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return deadline_exceeded()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        # The channel has retried already. If every channel on the way retried, the attempts would multiply.
        return service_unavailable(metadata={"retry_after": "1"})
    return internal_error()
