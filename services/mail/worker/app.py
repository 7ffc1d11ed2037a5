"""The composition of a mail worker."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from uuid import uuid4

import structlog

from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.observe.setup import open_telemetry
from services.kit.periodic import repeated
from services.kit.stores import postgres, redis_client
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import connect, create_pool
from services.kit.stores.redis_client import create_redis
from services.kit.tls.expiry import CertificateExpiry
from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.disconnect import Disconnections
from services.mail.mailboxes import Mailboxes
from services.mail.provider_access.outages import ProviderOutages
from services.mail.providers.registry import open_adapters, provider_access
from services.mail.retention import retention_tasks
from services.mail.settings import WorkerSettings
from services.mail.store.connection import Pool, is_reachable, reason_if_lost
from services.mail.store.control import lost_ids
from services.mail.sync.erase import Eraser
from services.mail.sync.idle.check import IdleCheck
from services.mail.sync.idle.metrics import IdleMetrics
from services.mail.sync.turn import TurnRunner
from services.mail.sync.turns.metrics import TurnMetrics
from services.mail.sync.worker import Worker

_LEASES_PER_TRANSACTION = 4

log = structlog.get_logger()


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Run a worker until `stop` is set."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry(
                "mail-worker", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version
            )
        )
        pools = PoolMetrics(telemetry.registry)
        CertificateExpiry(telemetry.registry, settings.identity)
        # Each slot uses a connection for its turn and its lease; the loop claims.
        size = 2 * settings.worker_slots + 1
        pool = await create_pool(
            settings.worker_database,
            application_name="mail-worker",
            size=size,
            # A process that stops within a transaction delays its successors: for its lease at most, or, if it was
            # about to send a statement, for the longest transaction.
            idle_in_transaction=settings.worker_lease_seconds,
            transaction=_LEASES_PER_TRANSACTION * settings.worker_lease_seconds,
            tracer=telemetry.tracer,
            on_connect=lost_ids.skip,
        )
        stack.push_async_callback(pool.close)
        postgres.show_pool(pool, pools)
        redis = create_redis(settings)
        stack.push_async_callback(redis.aclose)
        redis_client.show_pool(redis, pools)
        channel = await stack.enter_async_context(
            auth_client.connect(settings.auth_address, identity=settings.identity, tracer=telemetry.tracer)
        )
        holder = uuid4()
        auth = AuthClient(channel)
        access = provider_access(settings, redis=redis, pool=pool, auth=auth, registry=telemetry.registry)
        stack.push_async_callback(access.usage.close, pool)
        stack.push_async_callback(access.close)
        providers = await stack.enter_async_context(
            open_adapters(settings, pool=pool, access=access, holder=holder, observer=CallObserver(telemetry))
        )
        metrics, outages = TurnMetrics(telemetry), ProviderOutages()
        turns = TurnRunner(
            pool=pool,
            providers=providers,
            access=access,
            auth=auth,
            eraser=Eraser(pool=pool, auth=auth, providers=providers, access=access),
            metrics=metrics,
            outages=outages,
            lease_seconds=settings.worker_lease_seconds,
            poll_seconds=settings.mail_poll_seconds,
            verify_seconds=settings.mail_verify_seconds,
        )
        worker = Worker(
            pool=pool,
            connect_listener=lambda: connect(settings.worker_database),
            turns=turns,
            idle_check=IdleCheck(
                pool=pool,
                providers=providers,
                access=access,
                intervals=settings.idle_intervals,
                metrics=IdleMetrics(telemetry.registry),
                outages=outages,
                parallel=settings.worker_idle_checks,
            ),
            finish_deletions=Disconnections(pool, Mailboxes(pool, auth), auth).finish_deletions,
            metrics=metrics,
            slots=settings.worker_slots,
            holder=holder,
        )
        # The listener has another connection.
        capacity = PostgresCapacity(
            telemetry.registry, wanted=size + 1, read=partial(postgres.allowed_connections, pool)
        )
        ready = Readiness(stop, check=partial(_is_ready, pool, capacity))
        admin = admin_app(ready=ready, registry=telemetry.registry)
        await stack.enter_async_context(
            serve_http(admin, host=settings.worker_admin_host, port=settings.worker_admin_port)
        )
        retention = retention_tasks(pool, timedelta(days=settings.mail_disconnection_days))
        dependencies = Dependencies(
            telemetry.registry,
            {"postgres": partial(postgres.check_writes, pool), "redis": partial(redis_client.check_writes, redis)},
        )
        await stack.enter_async_context(
            repeated([*retention, dependencies.task, capacity.task, access.usage.task(pool)], explain=reason_if_lost)
        )
        ready.serving()
        log.info("worker is working", providers=sorted(providers))
        await worker.run(stop)


async def _is_ready(pool: Pool, capacity: PostgresCapacity) -> bool:
    return capacity.fits and await is_reachable(pool)
