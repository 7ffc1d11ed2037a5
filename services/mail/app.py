"""The composition of the mail service."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from services.kit.errors import AppError
from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.jwks import KeySet, KeysUnavailableError, PublishedKeys
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.observe.setup import open_telemetry
from services.kit.periodic import repeated
from services.kit.principals import Principals
from services.kit.rpc.server import Authenticate, proven_by, serve_rpc, unproven
from services.kit.stores import postgres, redis_client
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis
from services.kit.tls.expiry import CertificateExpiry
from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.disconnect import Disconnections
from services.mail.downloads.cache_cleanup import cleanup_task
from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import Downloads
from services.mail.mailboxes import Mailboxes
from services.mail.metrics import MailboxMetrics
from services.mail.notifications import Notifications
from services.mail.providers.registry import (
    FIRST_NOTIFIER,
    open_download_sources,
    open_notification_sources,
    provider_access,
)
from services.mail.reading.change_feed import ChangeFeed
from services.mail.reading.messages import Messages
from services.mail.reading.sync_list import SyncList
from services.mail.reading.threads import Threads
from services.mail.reading.usage import UsageReports
from services.mail.reading.user_connections import UserConnections
from services.mail.rpc import CALLERS, UNPROVEN, registrations
from services.mail.settings import MailSettings
from services.mail.spelling import spelling_of
from services.mail.store.connection import DATABASE_LOST, Pool, is_reachable, reason_if_lost
from services.mail.store.control import lost_ids
from services.mail.syncs import Syncs
from services.mail.webhooks.endpoints import Webhooks

# Seconds. A key that auth has withdrawn is refused after this long.
_KEYS_MAX_AGE = 600.0
_KEYS_RETRY = 1.0

log = structlog.get_logger()


async def serve(settings: MailSettings, stop: asyncio.Event) -> None:
    """Serve mail's RPCs until `stop` is set."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry("mail", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version)
        )
        pools = PoolMetrics(telemetry.registry)
        CertificateExpiry(telemetry.registry, settings.identity)
        calls = CallObserver(telemetry)
        pool = await create_pool(
            settings.database,
            application_name="mail",
            size=settings.mail_postgres_pool,
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
        auth = AuthClient(channel)
        mailboxes = Mailboxes(pool, auth)
        notification_sources = await stack.enter_async_context(open_notification_sources(settings, observer=calls))
        access = provider_access(settings, redis=redis, pool=pool, auth=auth, registry=telemetry.registry)
        stack.push_async_callback(access.usage.close, pool)
        stack.push_async_callback(access.close)
        sources = await stack.enter_async_context(
            open_download_sources(settings, pool=pool, access=access, observer=calls)
        )
        cache = await stack.enter_async_context(_disk_cache(settings, pool))
        connections = UserConnections(pool)
        capacity = PostgresCapacity(
            telemetry.registry, wanted=settings.mail_postgres_pool, read=partial(postgres.allowed_connections, pool)
        )
        ready = Readiness(stop, check=partial(_is_ready, pool, capacity))
        values = MailboxMetrics(telemetry.registry, pool=pool, quotas=access.quotas.values())
        admin = admin_app(ready=ready, registry=telemetry.registry, refresh=values.refresh)
        await stack.enter_async_context(serve_http(admin, host=settings.mail_admin_host, port=settings.mail_admin_port))
        spelling = await spelling_of(pool, stop)
        if spelling is None:
            return
        ids, tokens = spelling
        services = registrations(
            mailboxes=mailboxes,
            disconnections=Disconnections(pool, mailboxes, auth),
            messages=Messages(pool, connections, tokens=tokens),
            threads=Threads(connections, tokens=tokens),
            changes=ChangeFeed(pool, stop=stop),
            syncs=Syncs(pool, mailboxes, stop=stop),
            sync_list=SyncList(connections, tokens=tokens),
            downloads=Downloads(pool, sources=sources, access=access, cache=cache),
            webhooks=Webhooks(
                pool,
                secrets=settings.webhook_secrets,
                allow_http=settings.webhook_allow_http,
                most=settings.webhook_max_endpoints,
            ),
            usage=UsageReports(pool),
            notifications=Notifications(pool, sources=notification_sources, unnamed=FIRST_NOTIFIER),
            ids=ids,
            limits={provider: quota.limits for provider, quota in access.quotas.items()},
        )
        port = await stack.enter_async_context(
            serve_rpc(
                host=settings.mail_host,
                port=settings.mail_port,
                register=services,
                callers=CALLERS,
                identity=settings.identity,
                passing=DATABASE_LOST,
                telemetry=telemetry,
                authenticate=_authenticate(settings, auth),
            )
        )
        dependencies = Dependencies(
            telemetry.registry,
            {"postgres": partial(postgres.check_writes, pool), "redis": partial(redis_client.check_writes, redis)},
        )
        await stack.enter_async_context(
            repeated([dependencies.task, capacity.task, access.usage.task(pool)], explain=reason_if_lost)
        )
        ready.serving()
        log.info("mail is serving", port=port)
        await ready.until_stopped(drain_delay=settings.drain_delay_seconds)


async def _is_ready(pool: Pool, capacity: PostgresCapacity) -> bool:
    return capacity.fits and await is_reachable(pool)


def _authenticate(settings: MailSettings, auth: AuthClient) -> Authenticate:
    if not settings.mail_require_principals:
        log.warning("calls need not prove who asks: MAIL_REQUIRE_PRINCIPALS is for an upgrade only")
        return unproven
    return proven_by(_principals(settings, auth), exempt=UNPROVEN)


def _principals(settings: MailSettings, auth: AuthClient) -> Principals:
    async def fetch() -> PublishedKeys:
        try:
            return PublishedKeys(await auth.verification_keys(), max_age=_KEYS_MAX_AGE)
        except AppError as error:
            raise KeysUnavailableError(error.reason) from error

    keys = KeySet(fetch, algorithm="ES256", retry_interval=_KEYS_RETRY, monotonic=time.monotonic)
    return Principals(keys, issuer=settings.issuer)


@asynccontextmanager
async def _disk_cache(settings: MailSettings, pool: Pool) -> AsyncIterator[DiskCache]:
    with ExitStack() as stack:
        directory = settings.mail_cache_dir
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-mail-")))
        cache = DiskCache(directory, max_bytes=settings.mail_cache_bytes, max_age=settings.mail_cache_seconds)
        await asyncio.to_thread(cache.open)
        async with repeated([cleanup_task(pool, cache)], explain=reason_if_lost):
            yield cache
