"""How a provider is entered in the registry: what auth needs of its module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from services.auth.providers.base import Provider
from services.auth.providers.call_names import Addresses
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress

type Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A module's providers by name, and their addresses by the same names: of those that the settings give a client."""

    addresses: Callable[[AuthSettings], Mapping[str, Addresses]]
    providers: Callable[[AuthSettings, Egress, Clock], Mapping[str, Provider]]


def text_of(secret: SecretStr | None) -> str:
    """Return the text of a client's secret; it is empty for a client without one."""
    return "" if secret is None else secret.get_secret_value()
