"""Composition of the auth service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from services.auth import health
from services.auth.parts import Connections, build_parts
from services.auth.providers.registry import call_names
from services.auth.rpc import CALLERS
from services.auth.settings import AuthSettings
from services.kit.http.admin import admin_app
from services.kit.http.outbound import create_http_client
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.observe.setup import Telemetry, open_telemetry
from services.kit.periodic import repeated
from services.kit.rpc.server import serve_rpc
from services.kit.stores import engine as sql_engine
from services.kit.stores import redis_client
from services.kit.stores.engine import create_engine
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.redis_client import check_writes, create_redis
from services.kit.tls.expiry import CertificateExpiry

log = structlog.get_logger()


@dataclass(frozen=True)
class Ports:
    """The ports that a running service listens on, and its readiness."""

    rpc: int
    admin: int
    ready: Readiness


async def run(settings: AuthSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    async with serving(settings, stop=stop) as ports:
        log.info("serving", rpc_port=ports.rpc, admin_port=ports.admin)
        await ports.ready.until_stopped(drain_delay=settings.drain_delay_seconds)


@asynccontextmanager
async def serving(settings: AuthSettings, *, stop: asyncio.Event) -> AsyncIterator[Ports]:
    """Run the service while the block lasts; the two port settings may be 0. Raises OSError if an address is taken."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry("auth", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version)
        )
        CertificateExpiry(telemetry.registry, settings.identity)
        connections = await _connect(stack, settings, telemetry)
        parts = build_parts(settings, connections, registry=telemetry.registry)
        stack.push_async_callback(parts.provider_tokens.drain)
        dependencies = Dependencies(
            telemetry.registry,
            {
                "postgres": partial(health.check_writes, parts.store),
                "redis": partial(check_writes, connections.redis),
                "sign_in_redis": partial(check_writes, connections.sign_in_redis),
            },
        )
        capacity = PostgresCapacity(
            telemetry.registry,
            wanted=settings.auth_postgres_pool,
            read=partial(health.allowed_connections, parts.store),
        )
        ready = Readiness(
            stop, check=partial(health.is_ready, store=parts.store, signing_keys=parts.signing_keys, capacity=capacity)
        )
        admin = admin_app(ready=ready, registry=telemetry.registry)
        admin_port = await stack.enter_async_context(
            serve_http(admin, host=settings.auth_admin_host, port=settings.auth_admin_port)
        )
        rpc_port = await stack.enter_async_context(
            serve_rpc(
                host=settings.auth_host,
                port=settings.auth_port,
                callers=CALLERS,
                identity=settings.identity,
                register=parts.registrations,
                telemetry=telemetry,
                authenticate=parts.authenticate,
            )
        )
        tasks = [dependencies.task, capacity.task, *parts.tasks]
        await stack.enter_async_context(repeated(tasks, explain=health.explain))
        ready.serving()
        yield Ports(rpc=rpc_port, admin=admin_port, ready=ready)


async def _connect(stack: AsyncExitStack, settings: AuthSettings, telemetry: Telemetry) -> Connections:
    """Open the connections, which the stack closes, and show their pools."""
    pools = PoolMetrics(telemetry.registry)
    engine = create_engine(
        settings.database,
        application_name="mailroom-auth",
        pool_size=settings.auth_postgres_pool,
        tracer=telemetry.tracer,
    )
    stack.push_async_callback(engine.dispose)
    sql_engine.show_pool(engine, pools)
    redis = create_redis(settings)
    stack.push_async_callback(redis.aclose)
    redis_client.show_pool(redis, pools)
    # Connections of their own, also where the server is the same: strangers use them.
    sign_in_redis = create_redis(settings.sign_in_redis)
    stack.push_async_callback(sign_in_redis.aclose)
    redis_client.show_pool(sign_in_redis, pools, name="sign_in_redis")
    http_client = await stack.enter_async_context(
        create_http_client(observer=CallObserver(telemetry), name_call=call_names(settings))
    )
    return Connections(engine=engine, redis=redis, sign_in_redis=sign_in_redis, http=http_client)
