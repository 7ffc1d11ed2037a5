"""A gRPC server: health, request context, and the one place where exceptions become statuses."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, NoReturn

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.kit.context import REQUEST_ID_HEADER, start_request
from services.kit.errors import AppError, internal_error, service_unavailable
from services.kit.observe.setup import Telemetry
from services.kit.principals import PRINCIPAL_HEADER, Principals
from services.kit.rpc.allow_list import HEALTH, AllowList, Callers
from services.kit.rpc.errors import to_trailing_metadata
from services.kit.rpc.telemetry import RpcObserver
from services.kit.tls.identity import Pem, ServiceIdentity, WatchedIdentity

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Unary calls whose caller set no deadline end after this many seconds.
DEFAULT_TIMEOUT = 30.0
DRAIN_SECONDS = 10.0
# Seconds. Older connections are replaced with new handshakes, so that no expired certificate stays trusted for long.
MAX_CONNECTION_SECONDS = 900
# Seconds that streams under way have then: as long as a stream may take.
MAX_CONNECTION_GRACE_SECONDS = 3600

log = structlog.get_logger()

Context = aio.ServicerContext[Any, Any]
# Generic in the type stub only.
type Handler = grpc.RpcMethodHandler[Any, Any]
type Passing = tuple[type[Exception], ...]
# Checks who asks before a handler runs: gets the method and the request. Raises AppError.
type Authenticate = Callable[[str, Any, Context], Awaitable[None]]
type Observe = Callable[[str, Context], AbstractContextManager[None]]


async def _abort(context: Context, error: AppError) -> NoReturn:
    await context.abort(error.kind.grpc_status, error.message, to_trailing_metadata(error))


async def _abort_unknown(context: Context, method: str, error: Exception, passing: Passing) -> NoReturn:
    # Without this grpc.aio would send the exception's text to the caller.
    if isinstance(error, passing):
        log.warning("rpc failed for want of a store", method=method, error=type(error).__name__)
        await _abort(context, service_unavailable("A store"))
    log.error("rpc failed", method=method, exc_info=error)
    await _abort(context, internal_error())


def _begin(context: Context) -> None:
    metadata = dict(context.invocation_metadata() or ())
    given = metadata.get(REQUEST_ID_HEADER)
    timeout = context.time_remaining()
    start_request(
        request_id=given if isinstance(given, str) else None, timeout=DEFAULT_TIMEOUT if timeout is None else timeout
    )


def _unobserved(_: str, __: Context) -> AbstractContextManager[None]:
    return nullcontext()


async def unproven(_: str, __: Any, ___: Context) -> None:
    """Require no principal: callers are known by their certificates alone."""


def proven_by(principals: Principals, *, exempt: Collection[str] = ()) -> Authenticate:
    """Require a principal of each call but those of the `exempt` methods (`/package.Service/Method`), and of health.

    Requests name in `user_id` the subject of the principal that the caller acts for.
    """

    async def authenticate(method: str, request: Any, context: Context) -> None:
        if method in exempt or method.startswith(f"/{HEALTH}/"):
            return
        metadata = dict(context.invocation_metadata() or ())
        await principals.bind(str(metadata.get(PRINCIPAL_HEADER, "")), subject=request.user_id)

    return authenticate


class ErrorInterceptor(aio.ServerInterceptor):
    """The interceptor that binds the request context, observes each handler and turns its exceptions into a status.

    Calls that the allow-list refuses reach no handler. Exceptions of the `passing` types mean that a store of the
    service is unavailable for the moment.
    """

    def __init__(
        self,
        allow_list: AllowList,
        *,
        passing: Passing = (),
        observe: Observe = _unobserved,
        authenticate: Authenticate = unproven,
    ) -> None:
        self._allow_list = allow_list
        self._authenticate = authenticate
        self._passing = passing
        self._observe = observe
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of this call (gRPC's ServerInterceptor contract)."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Handler, method: str) -> Handler:
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary, method),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, method),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        raise NotImplementedError(f"{method} takes a stream, which nothing here checks or observes")

    def _unary(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def handle(request: Any, context: Context) -> Any:
            _begin(context)
            with self._observe(method, context):
                await self._allow_list.check(method, context)
                try:
                    await self._authenticate(method, request, context)
                    return await behaviour(request, context)
                except AppError as error:
                    await _abort(context, error)
                except Exception as error:  # noqa: BLE001 - the catch-all of the process; logged and hidden
                    await _abort_unknown(context, method, error, self._passing)

        return handle

    def _stream(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            _begin(context)
            with self._observe(method, context):
                await self._allow_list.check(method, context)
                try:
                    await self._authenticate(method, request, context)
                    async for item in behaviour(request, context):
                        yield item
                except AppError as error:
                    await _abort(context, error)
                except Exception as error:  # noqa: BLE001 - the catch-all of the process; logged and hidden
                    await _abort_unknown(context, method, error, self._passing)

        return handle


@asynccontextmanager
async def serve_rpc(
    *,
    host: str,
    port: int,
    register: Iterable[Callable[[aio.Server], None]],
    callers: Callers,
    identity: ServiceIdentity | None,
    passing: Passing = (),
    telemetry: Telemetry | None = None,
    authenticate: Authenticate = unproven,
) -> AsyncIterator[int]:
    """Serve while the block lasts, then drain; yields the port (useful when `port` is 0).

    `register` are calls such as `partial(add_XServicer_to_server, servicer)`; `passing` and `authenticate` are as in
    ErrorInterceptor. Without an identity the server accepts every caller, in plaintext. Raises IdentityError if it
    cannot be used.
    """
    observe = _unobserved if telemetry is None else RpcObserver(telemetry).observe
    server = aio.server(
        interceptors=[
            ErrorInterceptor(
                AllowList(callers, identified=identity is not None),
                passing=passing,
                observe=observe,
                authenticate=authenticate,
            )
        ],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            # Callers ping silent connections every few seconds (rpc/client.py), which gRPC would take for an attack.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_connection_age_ms", MAX_CONNECTION_SECONDS * 1000),
            ("grpc.max_connection_age_grace_ms", MAX_CONNECTION_GRACE_SECONDS * 1000),
        ],
    )
    for add in register:
        add(server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    bound = _bind(server, f"{host}:{port}", identity)
    await server.start()
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield bound
    finally:
        await status.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)


def _bind(server: aio.Server, address: str, identity: ServiceIdentity | None) -> int:
    if identity is None:
        return server.add_insecure_port(address)
    watched = WatchedIdentity(identity)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        return _configuration(watched.pem) if watched.has_changed() else None

    # gRPC calls it at every handshake, to learn of another certificate.
    credentials = grpc.dynamic_ssl_server_credentials(
        _configuration(watched.pem),
        changed,  # type: ignore[arg-type]  # None stands for no change, unlike the type stub says
        require_client_authentication=True,
    )
    return server.add_secure_port(address, credentials)


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], root_certificates=pem.ca)
