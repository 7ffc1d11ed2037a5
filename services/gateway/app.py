"""Composition of the gateway."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog
from fastapi import FastAPI
from limits import RateLimitItem

from services.gateway import errors
from services.gateway.access_tokens import AccessTokens, auth_key_set
from services.gateway.api_keys import ApiKeys
from services.gateway.clients import Services, connect
from services.gateway.html.sanitiser import SafeHtml
from services.gateway.http.compression import Compression
from services.gateway.http.cors import allow_origins
from services.gateway.http.methods import HeadAsGet, Methods, Resources
from services.gateway.limits.long_polls import LongPolls
from services.gateway.limits.rate_limits import Counters, RateLimit
from services.gateway.limits.shares import Shares
from services.gateway.middleware import AddressLimit, BodyLimit, CatchAll, RequestContext, SignInLimit
from services.gateway.openapi import DESCRIPTION, TAGS, DocumentedApp
from services.gateway.revocations import Revocations
from services.gateway.routes import (
    addresses,
    applications,
    changes,
    downloads,
    events,
    export,
    health,
    keys,
    mailboxes,
    message_list,
    messages,
    pages,
    sessions,
    sign_in,
    syncs,
    threads,
    user_deletion,
    users,
    webhooks,
)
from services.gateway.routes.connect import page as connect_page
from services.gateway.routes.connect import sessions as connect_sessions
from services.gateway.routes.push import push_router
from services.gateway.routes.reports import audit, usage
from services.gateway.settings import GatewaySettings
from services.gateway.telemetry import RequestTelemetry
from services.kit.http.admin import admin_app
from services.kit.http.bounds import Bounds
from services.kit.http.client_address import Network
from services.kit.http.readiness import Readiness, ReadinessCheck
from services.kit.http.server import serve_http
from services.kit.jwks import KeySet
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.setup import Telemetry, open_telemetry
from services.kit.periodic import repeated
from services.kit.stores.redis_client import check_writes, create_redis
from services.kit.tls.expiry import CertificateExpiry

# `messages` comes after the rest of /emails: its /emails/{id} would take their paths.
_ROUTES = (
    message_list,
    health,
    sign_in,
    sessions,
    user_deletion,
    events,
    mailboxes,
    users,
    keys,
    webhooks,
    usage,
    audit,
    applications,
    connect_sessions,
    connect_page,
    addresses,
    syncs,
    threads,
    changes,
    export,
    downloads,
    messages,
    pages,
)

log = structlog.get_logger()


def create_app(
    *,
    services: Services,
    signing_keys: KeySet,
    access_tokens: AccessTokens,
    api_keys: ApiKeys,
    revocations: Revocations,
    ready: ReadinessCheck,
    long_polls: LongPolls,
    telemetry: Telemetry,
    public_url: str,
    frontend_redirect_url: str,
    cors_origins: Sequence[str],
    body_limit: int,
    notifying_providers: Sequence[str] = (),
    has_docs: bool = True,
    https: bool = False,
    address_limit: RateLimit | None = None,
    sign_in_limit: RateLimit | None = None,
    user_limit: RateLimit | None = None,
    trusted_proxies: Sequence[Network] = (),
) -> FastAPI:
    """Build the public application on the given services.

    Clients reach it at `public_url`; `https` says that browsers reach it over TLS. Without a limit requests are not
    counted.
    """
    app = DocumentedApp(
        title="Mailroom",
        version="1",
        summary="A copy of the users' mail, kept current, over REST",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        servers=[{"url": public_url, "description": "This installation"}],
        openapi_url=None,
        redirect_slashes=False,
        # RequestTelemetry names requests in our own way, and FastAPI's would ask for every request whether it is on.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    app.state.safe_html = SafeHtml()
    app.state.shares = Shares()
    app.state.signing_keys = signing_keys
    app.state.access_tokens = access_tokens
    app.state.api_keys = api_keys
    app.state.revocations = revocations
    app.state.user_limit = user_limit
    app.state.address_limit = address_limit
    app.state.ready = ready
    app.state.long_polls = long_polls
    app.state.trusted_proxies = trusted_proxies
    app.state.public_url = public_url
    app.state.frontend_redirect_url = frontend_redirect_url
    errors.register(app)
    app.state.has_docs = has_docs
    routers = [*(module.router for module in _ROUTES), push_router(notifying_providers)]
    routers += [pages.docs] if has_docs else []
    # The last one added is the outermost. CORS is outside of CatchAll, so that pages can read a 500, too.
    resources = Resources(routers)
    app.state.methods_of = resources.methods_of
    app.add_middleware(Methods, resources=resources)
    app.add_middleware(BodyLimit, limit=body_limit)
    if sign_in_limit is not None:
        app.add_middleware(SignInLimit, limit=sign_in_limit)
    if address_limit is not None:
        app.add_middleware(AddressLimit, limit=address_limit, trusted_proxies=trusted_proxies)
    app.add_middleware(CatchAll)
    if cors_origins:
        allow_origins(app, cors_origins, routers=routers)
    app.add_middleware(Compression)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestContext, https=https)
    app.add_middleware(RequestTelemetry, telemetry=telemetry)
    # Their routes as they are: include_router would build each of them a second time, while the first request waits.
    app.router.routes += [route for router in routers for route in router.routes]
    return app


def _limit(limit: RateLimitItem | None, counters: Counters, *, policy: str) -> RateLimit | None:
    return None if limit is None else RateLimit(limit, counters, policy=policy)


async def run(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    ready = Readiness(stop)
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry("gateway", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version)
        )
        CertificateExpiry(telemetry.registry, settings.identity)
        services = await stack.enter_async_context(
            connect(
                auth_address=settings.auth_address,
                mail_address=settings.mail_address,
                identity=settings.identity,
                tracer=telemetry.tracer,
            )
        )
        redis = create_redis(settings)
        stack.push_async_callback(redis.aclose)
        counters = Counters(redis)
        signing_keys = auth_key_set(services.sessions)
        revocations = Revocations(services.api_keys)
        app = create_app(
            services=services,
            signing_keys=signing_keys,
            access_tokens=AccessTokens(signing_keys, issuer=settings.issuer, audience=settings.issuer),
            api_keys=ApiKeys(services.api_keys),
            revocations=revocations,
            ready=ready,
            long_polls=LongPolls(stop, revocations=revocations),
            telemetry=telemetry,
            public_url=settings.issuer,
            frontend_redirect_url=settings.frontend_redirect_url,
            cors_origins=settings.cors_origins,
            body_limit=settings.gateway_body_limit,
            notifying_providers=settings.notifying_providers,
            has_docs=settings.gateway_docs,
            https=settings.issuer.startswith("https:"),
            address_limit=_limit(settings.gateway_auth_limit, counters, policy="address"),
            sign_in_limit=_limit(settings.gateway_sign_in_limit, counters, policy="sign-ins"),
            user_limit=_limit(settings.gateway_user_limit, counters, policy="user"),
            trusted_proxies=settings.gateway_trusted_proxies,
        )
        admin = admin_app(ready=ready, registry=telemetry.registry)
        await stack.enter_async_context(
            serve_http(admin, host=settings.gateway_admin_host, port=settings.gateway_admin_port)
        )
        port = await stack.enter_async_context(
            serve_http(
                app,
                host=settings.gateway_host,
                port=settings.gateway_port,
                stop=stop,
                bounds=Bounds(
                    connections=settings.gateway_max_connections,
                    connections_per_address=settings.gateway_max_connections_per_address,
                    trusted_proxies=settings.gateway_trusted_proxies,
                ),
                render_refusal=errors.from_refusal,
            )
        )
        dependencies = Dependencies(telemetry.registry, {"redis": partial(check_writes, redis)})
        await stack.enter_async_context(repeated([dependencies.task, revocations.task]))
        ready.serving()
        log.info("gateway serves", host=settings.gateway_host, port=port, public_url=settings.issuer)
        await ready.until_stopped(drain_delay=settings.drain_delay_seconds)
