"""The providers by name, built from the settings. New ones are registered here."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import structlog
from pydantic import SecretStr

from services.auth.providers.base import Provider
from services.auth.providers.call_names import Addresses, hosts, name_call
from services.auth.providers.google import Google, GoogleEndpoints
from services.auth.providers.oauth_client import RegisteredClient
from services.auth.providers.userinfo_oauth import Endpoints, UserinfoOAuth
from services.auth.providers.yandex import NAME as YANDEX
from services.auth.providers.yandex import device_id_of, yandex
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress
from services.kit.observe.http_calls import NameCall

log = structlog.get_logger()


def call_names(settings: AuthSettings) -> NameCall:
    """Return the function that names the calls of all providers."""
    addresses: dict[str, Addresses] = {}
    if settings.google_client_id:
        addresses[Google.name] = _google_endpoints(settings).by_name()
    if settings.yandex_client_id:
        addresses[YANDEX] = _yandex_endpoints(settings).by_name()
    addresses |= {name: table.endpoints.by_name() for name, table in settings.file_providers.items()}
    return partial(name_call, providers=addresses)


def build_providers(settings: AuthSettings, *, egress: Egress, clock: Callable[[], datetime]) -> Mapping[str, Provider]:
    """Return the providers that have a client."""
    providers: dict[str, Provider] = {}
    if settings.google_client_id:
        providers[Google.name] = _google(settings, egress=egress, clock=clock)
    if settings.yandex_client_id:
        providers[YANDEX] = _yandex(settings, egress=egress, clock=clock)
    for name, table in settings.file_providers.items():
        log.info("provider", provider=name, hosts=hosts(table.endpoints.by_name()))
        providers[name] = UserinfoOAuth(
            name,
            endpoints=table.endpoints,
            client=table.client(callback=settings.callback_of(name)),
            dialect=table.dialect,
            egress=egress,
            clock=clock,
        )
    return providers


def _google_endpoints(settings: AuthSettings) -> GoogleEndpoints:
    return GoogleEndpoints(
        issuer=settings.google_issuer,
        authorization_url=settings.google_auth_url,
        token_url=settings.google_token_url,
        userinfo_url=settings.google_userinfo_url,
        jwks_url=settings.google_jwks_url,
        revoke_url=settings.google_revoke_url,
    )


def _google(settings: AuthSettings, *, egress: Egress, clock: Callable[[], datetime]) -> Provider:
    endpoints = _google_endpoints(settings)
    issuer = settings.google_issuer or "none"
    log.info("provider", provider=Google.name, issuer=issuer, hosts=hosts(endpoints.by_name()))
    client = RegisteredClient(
        client_id=settings.google_client_id,
        client_secret=_text_of(settings.google_client_secret),
        redirect_uri=settings.redirect_uri,
        scopes=tuple(settings.google_scopes.split()),
    )
    return Google(endpoints=endpoints, client=client, egress=egress, clock=clock, monotonic=time.monotonic)


def _yandex_endpoints(settings: AuthSettings) -> Endpoints:
    return Endpoints(
        authorization_url=settings.yandex_auth_url,
        token_url=settings.yandex_token_url,
        userinfo_url=settings.yandex_userinfo_url or "",
        revoke_url=settings.yandex_revoke_url,
    )


def _yandex(settings: AuthSettings, *, egress: Egress, clock: Callable[[], datetime]) -> Provider:
    endpoints = _yandex_endpoints(settings)
    log.info("provider", provider=YANDEX, hosts=hosts(endpoints.by_name()))
    client = RegisteredClient(
        client_id=settings.yandex_client_id,
        client_secret=_text_of(settings.yandex_client_secret),
        redirect_uri=settings.yandex_redirect_uri or settings.callback_of(YANDEX),
        scopes=tuple(settings.yandex_scopes.split()),
    )
    device_id = device_id_of(settings.secret_key.get_secret_value(), settings.yandex_client_id)
    return yandex(endpoints=endpoints, client=client, device_id=device_id, egress=egress, clock=clock)


def _text_of(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
