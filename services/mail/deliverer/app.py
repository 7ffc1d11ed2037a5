"""The composition of a deliverer of webhooks."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from uuid import uuid4

import structlog

from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.observe.setup import open_telemetry
from services.kit.periodic import repeated
from services.kit.stores import postgres
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import connect, create_pool
from services.kit.url_guard.addresses import AddressPolicy
from services.kit.url_guard.client import open_client
from services.mail.deliverer.deliverer import Deliverer
from services.mail.deliverer.feed_delivery import FeedDelivery
from services.mail.deliverer.feed_reader import FeedReader
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.deliverer.single_delivery import SingleDelivery
from services.mail.deliverer.slots import Slots
from services.mail.deliverer.upkeep import upkeep_tasks
from services.mail.settings import DelivererSettings
from services.mail.spelling import spelling_of
from services.mail.store.connection import Pool, is_reachable, reason_if_lost
from services.mail.usage import UsageCounter
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.retries import RetryRules

# Seconds by which a lease outlasts a try.
_LEASE_MARGIN = 5.0

log = structlog.get_logger()


async def serve(settings: DelivererSettings, stop: asyncio.Event) -> None:
    """Run a deliverer until `stop` is set."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry(
                "mail-deliverer", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version
            )
        )
        pools = PoolMetrics(telemetry.registry)
        pool = await create_pool(
            settings.deliverer_database,
            application_name="mail-deliverer",
            size=settings.deliverer_postgres_pool,
            tracer=telemetry.tracer,
            on_connect=postgres.commit_without_waiting,
        )
        stack.push_async_callback(pool.close)
        postgres.show_pool(pool, pools)
        # The listener has another connection.
        capacity = PostgresCapacity(
            telemetry.registry,
            wanted=settings.deliverer_postgres_pool + 1,
            read=partial(postgres.allowed_connections, pool),
        )
        ready = Readiness(stop, check=partial(_is_ready, pool, capacity))
        admin = admin_app(ready=ready, registry=telemetry.registry)
        await stack.enter_async_context(
            serve_http(admin, host=settings.deliverer_admin_host, port=settings.deliverer_admin_port)
        )
        spelling = await spelling_of(pool, stop)
        if spelling is None:
            return
        ids, _ = spelling
        metrics = DelivererMetrics(telemetry.registry)
        usage = UsageCounter()
        stack.push_async_callback(usage.close, pool)
        rules = RetryRules(disable_after=settings.disable_after)
        secrets = settings.webhook_secrets
        assert secrets is not None, "the settings have a key"  # noqa: S101 - the settings are checked
        client = await stack.enter_async_context(
            open_client(AddressPolicy(settings.webhook_allowed_networks), connections=settings.deliverer_slots)
        )
        sender = Sender(
            client, metrics=metrics, seconds=settings.webhook_timeout_seconds, allow_http=settings.webhook_allow_http
        )
        lease_seconds = settings.webhook_timeout_seconds + _LEASE_MARGIN
        slots = Slots(total=settings.deliverer_slots, per_endpoint=settings.deliverer_slots_per_endpoint)
        health = EndpointHealth(pool, rules=rules, disabled=metrics.disabled)
        deliverer = Deliverer(
            pool,
            connect_listener=lambda: connect(settings.deliverer_database),
            feeds=FeedDelivery(
                pool,
                owner=uuid4(),
                reader=FeedReader(pool, ids=ids, secrets=secrets, lease_seconds=lease_seconds),
                sender=sender,
                health=health,
                metrics=metrics,
                usage=usage,
                slots=slots,
                lease_seconds=lease_seconds,
            ),
            singles=SingleDelivery(
                pool,
                sender=sender,
                ids=ids,
                secrets=secrets,
                health=health,
                metrics=metrics,
                usage=usage,
                rules=rules,
                lease_seconds=lease_seconds,
            ),
            metrics=metrics,
            slots=slots,
        )
        dependencies = Dependencies(telemetry.registry, {"postgres": partial(postgres.check_writes, pool)})
        upkeep = upkeep_tasks(pool, secrets=secrets, metrics=metrics, delivered_days=settings.webhook_delivery_days)
        await stack.enter_async_context(
            repeated([*upkeep, dependencies.task, capacity.task, usage.task(pool)], explain=reason_if_lost)
        )
        ready.serving()
        log.info("deliverer is working", slots=settings.deliverer_slots)
        await deliverer.run(stop)


async def _is_ready(pool: Pool, capacity: PostgresCapacity) -> bool:
    return capacity.fits and await is_reachable(pool)
