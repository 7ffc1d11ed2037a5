"""Composition of the console."""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx
import structlog
from fastapi import FastAPI

from services.console.gateway.client import Gateway, create_http_client
from services.console.gateway.sandbox import Sandbox
from services.console.pages import failures
from services.console.pages.rendering import create_templates
from services.console.pages.security import SecurityHeaders
from services.console.pages.visit import Console
from services.console.routes import (
    api,
    audit,
    changes,
    connect,
    files,
    keys,
    mail,
    mailboxes,
    message,
    overview,
    sign_in,
    webhooks,
)
from services.console.routes import peers as peer_routes
from services.console.routes import sandbox as sandbox_routes
from services.console.sessions.ended import EndedSessions, EndedSessionsCipher
from services.console.sessions.peers import INTERVAL, Peers, Resolve, addresses_of
from services.console.sessions.session import SessionCipher
from services.console.sessions.sessions import Sessions
from services.console.settings import ConsoleSettings
from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.setup import open_telemetry
from services.kit.periodic import PeriodicTask, repeated

_ROUTES = (
    sign_in,
    overview,
    mailboxes,
    connect,
    mail,
    message,
    changes,
    webhooks,
    keys,
    audit,
    api,
    sandbox_routes,
    peer_routes,
    files,
)

log = structlog.get_logger()


def create_app(
    settings: ConsoleSettings,
    *,
    gateway: Gateway,
    sandbox: Sandbox | None = None,
    peer_client: httpx.AsyncClient | None = None,
    resolve: Resolve | None = None,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Build the console over a gateway; `clock` returns seconds since 1970, `resolve` finds CONSOLE_PEERS."""
    app = FastAPI(title="Mailroom console", openapi_url=None, redirect_slashes=False)
    https = settings.address.startswith("https:")
    key = settings.console_secret_key
    secret = secrets.token_urlsafe(48) if key is None else key.get_secret_value()
    ended = EndedSessions(clock=clock, file=settings.console_ended_sessions_file)
    app.state.console = Console(
        gateway=gateway,
        sessions=Sessions(
            SessionCipher(secret),
            ended=ended,
            idle=settings.console_idle_seconds,
            longest=settings.console_session_seconds,
            clock=clock,
            https=https,
        ),
        templates=create_templates(clock=clock, api=settings.api, version=settings.mailroom_version),
        clock=clock,
        origin=settings.address,
        api=settings.api,
        sandbox=sandbox,
        peers=_peers(settings, ended, EndedSessionsCipher(secret), http=peer_client, resolve=resolve),
    )
    failures.register(app)
    for module in _ROUTES:
        app.include_router(module.router)
    app.add_middleware(SecurityHeaders, https=https)
    return app


def _peers(
    settings: ConsoleSettings,
    ended: EndedSessions,
    cipher: EndedSessionsCipher,
    *,
    http: httpx.AsyncClient | None,
    resolve: Resolve | None,
) -> Peers | None:
    if settings.console_peers is None or http is None:
        return None
    return Peers(ended, cipher, http=http, resolve=resolve or addresses_of(settings.console_peers))


async def run(settings: ConsoleSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    ready = Readiness(stop)
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(open_telemetry("console", collector=None, version=settings.mailroom_version))
        http = await stack.enter_async_context(create_http_client(settings.console_gateway_url))
        admin = admin_app(ready=ready, registry=telemetry.registry)
        await stack.enter_async_context(
            serve_http(admin, host=settings.console_admin_host, port=settings.console_admin_port)
        )
        sandbox = None
        if settings.console_sandbox_url is not None:
            sandbox = Sandbox(await stack.enter_async_context(create_http_client(settings.console_sandbox_url)))
        peer_client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        app = create_app(settings, gateway=Gateway(http), sandbox=sandbox, peer_client=peer_client)
        port = await stack.enter_async_context(
            serve_http(app, host=settings.console_host, port=settings.console_port, stop=stop)
        )
        if (peers := app.state.console.peers) is not None:
            await peers.exchange()
            task = PeriodicTask("exchange ended sessions", INTERVAL, peers.exchange)
            await stack.enter_async_context(repeated([task]))
        ready.serving()
        log.info("console serves", host=settings.console_host, port=port, url=settings.address)
        await ready.until_stopped(drain_delay=settings.drain_delay_seconds)
