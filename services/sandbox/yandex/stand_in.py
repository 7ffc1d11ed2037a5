"""The stand-in of Yandex: its OAuth, and the IMAP servers that take the tokens of all providers."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.routing import Route

from services.sandbox.certificates import server_tls
from services.sandbox.imap.control import ImapControl, Listeners
from services.sandbox.imap.profiles import PROFILES
from services.sandbox.imap.server import ImapServer
from services.sandbox.settings import Settings
from services.sandbox.stand_in import Shared, StandIn
from services.sandbox.yandex.authorize import AuthorizationEndpoint
from services.sandbox.yandex.control import YandexControl
from services.sandbox.yandex.grants import YandexGrants
from services.sandbox.yandex.grants_file import yandex_grants_file
from services.sandbox.yandex.mail_tokens import MailTokens
from services.sandbox.yandex.pages import Pages
from services.sandbox.yandex.routes import YandexRoutes
from services.sandbox.yandex.rules import AllRules
from services.sandbox.yandex.token_endpoint import TokenEndpoint

_HERE = Path(__file__).parent
_LOG = logging.getLogger("sandbox")


@asynccontextmanager
async def open_yandex(shared: Shared) -> AsyncIterator[StandIn]:
    """Open the IMAP servers that the settings ask for, until the block exits."""
    settings, rules = shared.settings, AllRules()
    grants = YandexGrants(
        clock=shared.clock,
        rules=rules,
        new_token=secrets.token_urlsafe,
        file=None if settings.grants_file is None else yandex_grants_file(settings.grants_file),
    )
    imap = ImapServer(
        tokens=MailTokens(users=shared.users, grants=grants, rules=rules),
        mailboxes=shared.mailboxes,
        faults=shared.faults,
        call_counts=shared.call_counts,
        clock=shared.clock,
    )
    async with _listeners(settings, imap) as listeners:
        yield StandIn(
            routes=[
                *_oauth_routes(shared, grants, rules),
                *YandexControl(users=shared.users, rules=rules).routes(),
                *ImapControl(server=imap, users=shared.users, listeners=listeners).routes(),
            ],
            grants=grants,
            changed=imap.changed,
        )


@asynccontextmanager
async def _listeners(settings: Settings, server: ImapServer) -> AsyncIterator[Listeners]:
    if not settings.imap_ports:
        yield Listeners(settings.imap_host, {}, "")
        return
    tls, authority = server_tls(kept=settings.imap_ca_file)
    async with AsyncExitStack() as stack:
        opened = {}
        for name, port in settings.imap_ports.items():
            listening = server.listening(PROFILES[name], host=settings.imap_host, port=port, tls=tls)
            opened[name] = await stack.enter_async_context(listening)
            _LOG.info("imap server %s listens on port %s", name, opened[name])
        yield Listeners(settings.imap_host, opened, authority)


def _oauth_routes(shared: Shared, grants: YandexGrants, rules: AllRules) -> list[Route]:
    users, clients = shared.users, shared.clients
    pages = Pages((_HERE / "page.html").read_text(encoding="utf-8"))
    return YandexRoutes(
        users=users,
        authorization=AuthorizationEndpoint(users=users, clients=clients, grants=grants, rules=rules, pages=pages),
        tokens=TokenEndpoint(users=users, clients=clients, grants=grants, rules=rules, clock=shared.clock),
        grants=grants,
        faults=shared.faults,
        observe=shared.observe,
    ).routes()
