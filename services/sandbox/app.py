"""Composition of the sandbox: everything is built here, by hand."""

import logging
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from services.sandbox.authorize import AuthorizationEndpoint
from services.sandbox.clients import Client, Clients
from services.sandbox.clock import Clock
from services.sandbox.consent import ConsentPages
from services.sandbox.control_identity import IdentityControl, Mailboxes
from services.sandbox.control_json import ControlError, render_error
from services.sandbox.demo import DemoPage
from services.sandbox.faults import Abortable, FaultPlan
from services.sandbox.identity import Identity, User
from services.sandbox.oauth import OAuthRoutes
from services.sandbox.settings import Settings
from services.sandbox.token_endpoint import TokenEndpoint
from services.sandbox.token_facts import TokenFacts

_HERE = Path(__file__).parent
_LOG = logging.getLogger("sandbox")


def _observe(method: str, user: str | None, status: int) -> None:
    _LOG.info("%s %s %s", method, user or "-", status)


async def _ready(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _home(_: Request) -> Response:
    return RedirectResponse("/demo", 302)


def _client(settings: Settings) -> Client:
    secret = settings.client_secret.get_secret_value()
    return Client(settings.client_id, secret, frozenset(settings.redirect_uris))


def _demo_routes(settings: Settings) -> list[Route]:
    html = (_HERE / "demo.html").read_text(encoding="utf-8")
    page = DemoPage(html, gateway_url=settings.gateway_url, home=settings.issuer, new_nonce=secrets.token_urlsafe)
    return page.routes()


def _oauth_routes(identity: Identity, clients: Clients, clock: Clock, faults: FaultPlan) -> list[Route]:
    pages = ConsentPages((_HERE / "consent.html").read_text(encoding="utf-8"))
    return OAuthRoutes(
        identity=identity,
        authorization=AuthorizationEndpoint(identity=identity, clients=clients, pages=pages),
        tokens=TokenEndpoint(identity=identity, clients=clients, clock=clock),
        facts=TokenFacts(identity=identity, clock=clock),
        faults=faults,
        observe=_observe,
    ).routes()


class _NoMail:
    def populate(self, user: User, *, messages: int, seed: int | None, ugly: bool) -> int:  # noqa: ARG002 - protocol
        raise ControlError(501, "this sandbox has no mailboxes")

    def count(self, user: User) -> int:  # noqa: ARG002 - protocol
        return 0

    def drop(self, user: User) -> None:
        """There is nothing to forget."""


def build_app(settings: Settings, *, clock: Clock | None = None) -> ASGIApp:
    """The whole sandbox as one ASGI application, with the users that the settings name."""
    clock = clock or Clock()
    clients = Clients(_client(settings))
    faults = FaultPlan()
    mailboxes: Mailboxes = _NoMail()
    identity = Identity(
        clock=clock,
        issuer=settings.issuer,
        access_lifetime=settings.token_ttl,
        new_token=secrets.token_urlsafe,
        seed=settings.seed,
    )
    for email in settings.users:
        identity.add_user(email)
    routes: list[BaseRoute] = [
        Route("/", _home),
        Route("/livez", _ready),
        Route("/readyz", _ready),
        *_demo_routes(settings),
        *_oauth_routes(identity, clients, clock, faults),
        *IdentityControl(identity=identity, clients=clients, clock=clock, mailboxes=mailboxes).routes(),
    ]
    return Abortable(Starlette(routes=routes, exception_handlers={HTTPException: render_error}))
