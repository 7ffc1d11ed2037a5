"""A mail worker, put together."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import open_telemetry
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import connect, create_pool
from services.kit.stores.redis_client import create_redis
from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.disconnect import Disconnecting
from services.mail.mailboxes import Mailboxes
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.http_client import create_gmail_client
from services.mail.settings import WorkerSettings
from services.mail.store.connection import is_reachable
from services.mail.sync.erase import Eraser
from services.mail.sync.idle_check import IdleCheck
from services.mail.sync.turn import TurnRunner
from services.mail.sync.turn_metrics import TurnMetrics
from services.mail.sync.worker import Worker

_LEASES_PER_TRANSACTION = 4

log = structlog.get_logger()


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Works on due mailboxes until `stop` is set."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(open_telemetry("mail-worker", collector=settings.otel_exporter_otlp_endpoint))
        pools = PoolMetrics(telemetry.registry)
        # Each slot reads or writes and renews its lease; the loop claims.
        size = 2 * settings.worker_slots + 1
        pool = await create_pool(
            settings.database,
            application_name="mail-worker",
            size=size,
            # A process that is stopped within a transaction holds up its successors: for no longer than its lease, or
            # where it was about to send a statement, than any transaction may take.
            idle_in_transaction=settings.worker_lease_seconds,
            transaction=_LEASES_PER_TRANSACTION * settings.worker_lease_seconds,
            tracer=telemetry.tracer,
        )
        stack.push_async_callback(pool.close)
        pools.asyncpg(pool)
        redis = create_redis(settings)
        stack.push_async_callback(redis.aclose)
        pools.redis(redis)
        channel = await stack.enter_async_context(
            auth_client.connect(settings.auth_address, identity=settings.identity, tracer=telemetry.tracer)
        )
        gmail = await stack.enter_async_context(
            create_gmail_client(connections=settings.worker_slots, observer=CallObserver(telemetry))
        )
        profile = settings.quota
        providers = {
            "google": GmailProvider(
                gmail,
                api_url=settings.gmail_api_url,
                batch_url=settings.batch_url,
                costs=profile.costs,
                push_topic=settings.gmail_push_topic,
            )
        }
        quota = Quota(redis, profile=profile, batch_units=profile.costs.get * settings.gmail_batch_size)
        auth = AuthClient(channel)
        tokens = AccessTokens(auth)
        metrics = TurnMetrics(telemetry)
        turns = TurnRunner(
            pool=pool,
            providers=providers,
            quota=quota,
            concurrency_limit=ConcurrencyLimit(redis, batch_size=settings.gmail_batch_size),
            tokens=tokens,
            eraser=Eraser(pool=pool, auth=auth, providers=providers, quota=quota, tokens=tokens),
            metrics=metrics,
            lease_seconds=settings.worker_lease_seconds,
            poll_seconds=settings.mail_poll_seconds,
            verify_seconds=settings.mail_verify_seconds,
        )
        worker = Worker(
            pool=pool,
            connect_listener=lambda: connect(settings.database),
            turns=turns,
            idle_check=IdleCheck(
                pool=pool, providers=providers, quota=quota, tokens=tokens, poll_seconds=settings.mail_poll_seconds
            ),
            finish_deletions=Disconnecting(pool, Mailboxes(pool, auth), auth).finish_deletions,
            metrics=metrics,
            slots=settings.worker_slots,
        )
        ready = Readiness(stop, check=lambda: is_reachable(pool))
        admin = admin_app(ready=ready, registry=telemetry.registry)
        await stack.enter_async_context(
            serve_http(admin, host=settings.worker_admin_host, port=settings.worker_admin_port)
        )
        ready.serving()
        log.info("worker is working", gmail=settings.gmail_api_url, batch=settings.batch_url)
        await worker.run(stop)
