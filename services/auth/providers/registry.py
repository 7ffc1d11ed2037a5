"""The providers by name, built from the settings. New ones are registered here."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from services.auth.providers.base import Provider
from services.auth.providers.call_names import Addresses, hosts, name_call
from services.auth.providers.file_providers import FILE
from services.auth.providers.google import GOOGLE
from services.auth.providers.registration import Registration
from services.auth.providers.yandex import YANDEX
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress
from services.kit.observe.http_calls import NameCall

_PROVIDERS: Final[tuple[Registration, ...]] = (
    GOOGLE,
    YANDEX,
    FILE,
)

log = structlog.get_logger()


def call_names(settings: AuthSettings) -> NameCall:
    """Return the function that names the calls of all providers."""
    return partial(name_call, providers=_addresses(settings))


def build_providers(settings: AuthSettings, *, egress: Egress, clock: Callable[[], datetime]) -> Mapping[str, Provider]:
    """Return the providers that have a client."""
    for name, addresses in _addresses(settings).items():
        log.info("provider", provider=name, hosts=hosts(addresses))
    return {name: made for each in _PROVIDERS for name, made in each.providers(settings, egress, clock).items()}


def _addresses(settings: AuthSettings) -> Mapping[str, Addresses]:
    return {name: addresses for each in _PROVIDERS for name, addresses in each.addresses(settings).items()}
