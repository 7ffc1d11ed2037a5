"""Composition of the sandbox: explicit constructor calls, no container."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from services.sandbox.clock import Clock
from services.sandbox.control.json_body import render_error
from services.sandbox.control.mail import MailControl
from services.sandbox.control.state import StateControl
from services.sandbox.control.users import UserControl
from services.sandbox.google.gmail.discovery import DiscoveryRoutes
from services.sandbox.google.gmail.dispatch import Dispatcher
from services.sandbox.google.gmail.labels import GmailLabels
from services.sandbox.google.gmail.methods.method_table import MethodTable
from services.sandbox.google.gmail.page_tokens import PageTokens
from services.sandbox.google.gmail.quota import Quota
from services.sandbox.google.gmail.resources import Renderer
from services.sandbox.google.gmail.routes import GmailApi
from services.sandbox.google.gmail.watch_and_push import PushService, PushTarget
from services.sandbox.google.oauth.authorize import AuthorizationEndpoint
from services.sandbox.google.oauth.consent import ConsentPages
from services.sandbox.google.oauth.grants_file import GrantsFile
from services.sandbox.google.oauth.routes import OAuthRoutes
from services.sandbox.google.oauth.signing_keys import new_private_key
from services.sandbox.google.oauth.token_endpoint import TokenEndpoint
from services.sandbox.google.oauth.userinfo import UserInfoEndpoint
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.instruments.audit_log import AuditLog
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import Abortable, FaultPlan
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.mailbox import Mailbox
from services.sandbox.mailboxes.registry import Mailboxes
from services.sandbox.oauth.clients import Client, Clients
from services.sandbox.settings import Settings
from services.sandbox.stand_in import ChangeListener, Observe, OpenStandIn, Shared
from services.sandbox.yandex.stand_in import open_yandex

_HERE = Path(__file__).parent
_WELCOME = """\
A sandbox of Mailroom: it stands in for providers of mail, and signs in anyone as any of its users.
Its control API is below /_sandbox/ (docs/sandbox.md); the console has a page that fills its mailboxes.
"""
_LOG = logging.getLogger("sandbox")
# The further providers. New ones are registered here.
_BESIDES: Final[Sequence[OpenStandIn]] = [
    open_yandex,
]


@asynccontextmanager
async def open_sandbox(
    settings: Settings, *, clock: Clock | None = None, new_key: Callable[[], RSAPrivateKey] = new_private_key
) -> AsyncIterator[ASGIApp]:
    """Build the whole sandbox as one ASGI application, with the users and mail that the settings ask for.

    Push notifications are delivered until the block exits.
    """
    clock = clock or Clock()
    clients = Clients(_client(settings))
    faults = FaultPlan()
    call_counts = CallCounts()
    users = SandboxUsers(
        clock=clock,
        issuer=settings.issuer,
        access_lifetime=settings.token_ttl,
        new_token=secrets.token_urlsafe,
        new_key=new_key,
        seed=settings.seed,
        grants_file=None if settings.grants_file is None else GrantsFile(settings.grants_file),
    )
    mailboxes = Mailboxes(
        clock=clock,
        seed=settings.seed,
        retention=settings.history_retention,
        log=AuditLog(clock),
        label_scheme=GmailLabels(),
    )
    push = _push(settings, clock, users)
    observe = _observer(call_counts)
    quota = _quota(settings, clock)
    pages = PageTokens(clock=clock)
    methods = MethodTable(push)
    dispatcher = Dispatcher(
        users=users,
        mailboxes=mailboxes,
        methods=methods,
        renderer=Renderer(inline_limit=settings.attachment_inline_limit),
        pages=pages,
        quota=quota,
        call_counts=call_counts,
        faults=faults,
        clock=clock,
    )
    gmail = GmailApi(dispatcher, quota=quota, call_counts=call_counts, faults=faults)
    state = StateControl(
        faults=faults,
        quota=quota,
        call_counts=call_counts,
        log=mailboxes.log,
        pages=pages,
        push=push,
        dispatcher=dispatcher,
    )
    shared = Shared(
        settings=settings,
        clock=clock,
        users=users,
        clients=clients,
        mailboxes=mailboxes,
        faults=faults,
        call_counts=call_counts,
        observe=observe,
    )
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        besides = [await stack.enter_async_context(open_stand_in(shared)) for open_stand_in in _BESIDES]
        mailboxes.changed = _joined(push.changed, *(each.changed for each in besides))
        _create_users(settings, users, mailboxes)
        grants = (users.grants, *(each.grants for each in besides))
        routes = [
            Route("/", _home),
            Route("/livez", _ready),
            Route("/readyz", _ready),
            *gmail.routes(),
            *DiscoveryRoutes(methods.methods).routes(),
            *_oauth_routes(users, clients, clock, faults, observe),
            *(route for each in besides for route in each.routes),
            *UserControl(
                users=users, grants=grants, clients=clients, clock=clock, mailboxes=mailboxes, push=push
            ).routes(),
            *MailControl(users=users, mailboxes=mailboxes, push=push, clock=clock).routes(),
            *state.routes(),
        ]
        delivery = tasks.create_task(push.run())
        try:
            yield Abortable(Starlette(routes=routes, exception_handlers={HTTPException: render_error}))
        finally:
            delivery.cancel()


def _joined(*listeners: ChangeListener) -> ChangeListener:
    """Return one listener of changes that calls several."""

    def changed(mailbox: Mailbox, change: Change) -> None:
        for listener in listeners:
            listener(mailbox, change)

    return changed


async def _ready(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _home(_: Request) -> Response:
    return PlainTextResponse(_WELCOME)


def _client(settings: Settings) -> Client:
    secret = settings.client_secret.get_secret_value()
    return Client(settings.client_id, secret, frozenset(settings.redirect_uris))


def _push(settings: Settings, clock: Clock, users: SandboxUsers) -> PushService:
    target = PushTarget(
        endpoint=settings.push_endpoint,
        audience=settings.push_audience,
        service_account=settings.push_service_account,
    )
    seeded = random.Random(settings.seed)  # noqa: S311 - reproducible by design
    return PushService(clock=clock, users=users, target=target, random=seeded)


def _quota(settings: Settings, clock: Clock) -> Quota:
    return Quota(
        clock=clock,
        profile=settings.quota_profile,
        window=settings.quota_window,
        kind=settings.quota_kind,
        concurrency=settings.concurrency,
    )


def _create_users(settings: Settings, users: SandboxUsers, mailboxes: Mailboxes) -> None:
    for email in settings.users:
        user = users.add_user(email)
        if settings.messages:
            mailboxes.populate(user, messages=settings.messages, seed=None, ugly=False)


def _oauth_routes(
    users: SandboxUsers, clients: Clients, clock: Clock, faults: FaultPlan, observe: Observe
) -> list[Route]:
    pages = ConsentPages((_HERE / "google/oauth/consent.html").read_text(encoding="utf-8"))
    return OAuthRoutes(
        users=users,
        authorization=AuthorizationEndpoint(users=users, clients=clients, pages=pages),
        tokens=TokenEndpoint(users=users, clients=clients, clock=clock),
        userinfo=UserInfoEndpoint(users=users, clock=clock),
        faults=faults,
        observe=observe,
    ).routes()


def _observer(call_counts: CallCounts) -> Observe:
    def observe(method: str, user: str | None, status: int) -> None:
        call_counts.record(method, user, status)
        _LOG.info("%s %s %s", method, user or "-", status)

    return observe
