"""The providers of PROVIDERS_FILE: OAuth 2.0 with userinfo, as their tables describe it."""

from collections.abc import Mapping

from services.auth.providers.base import Provider
from services.auth.providers.call_names import Addresses
from services.auth.providers.registration import Clock, Registration
from services.auth.providers.userinfo_oauth import UserinfoOAuth
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress


def _addresses(settings: AuthSettings) -> Mapping[str, Addresses]:
    return {name: table.endpoints.by_name() for name, table in settings.file_providers.items()}


def _providers(settings: AuthSettings, egress: Egress, clock: Clock) -> Mapping[str, Provider]:
    return {
        name: UserinfoOAuth(
            name,
            endpoints=table.endpoints,
            client=table.client(callback=settings.callback_of(name)),
            dialect=table.dialect,
            egress=egress,
            clock=clock,
        )
        for name, table in settings.file_providers.items()
    }


FILE = Registration(addresses=_addresses, providers=_providers)
