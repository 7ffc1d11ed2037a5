"""The settings of the gateway."""

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from services.kit.http.client_address import Network
from services.kit.settings import RedisSettings, ServiceSettings, comma_list


def _absolute_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc:
        raise ValueError("must be an absolute URL")
    return value


Port = Annotated[int, Field(ge=0, le=65535)]
AbsoluteUrl = Annotated[str, AfterValidator(_absolute_url)]


# All of them are many more than the proxies in front of a gateway: any neighbour could choose its address.
_PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]


def _exact(network: Network) -> Network:
    if any(private.version == network.version and _includes(network, private) for private in _PRIVATE):
        raise ValueError("is wider than the networks of proxies: name theirs only")
    return network


def _includes(network: Network, other: Network) -> bool:
    return network.prefixlen <= other.prefixlen and other.network_address in network


def _rate_limit(value: object) -> object:
    if value == "off":
        return None
    try:
        return parse(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError("must be like 300/minute or 20 per 10 seconds, or off") from error


ExactNetwork = Annotated[Network, AfterValidator(_exact)]
# None: no limit.
RateLimit = Annotated[RateLimitItem | None, NoDecode, BeforeValidator(_rate_limit)]


class GatewaySettings(RedisSettings, ServiceSettings):
    """The settings, each named after its environment variable in lower case."""

    service = "gateway"
    model_config = SettingsConfigDict(arbitrary_types_allowed=True)

    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8000
    gateway_admin_host: str = "127.0.0.1"
    gateway_admin_port: Port = 9100
    auth_address: str = "127.0.0.1:50051"
    mail_address: str = "127.0.0.1:50052"
    # The address at which browsers reach the gateway.
    public_url: AbsoluteUrl | None = None
    frontend_redirect_url: AbsoluteUrl = "http://localhost:3000/your-frontend"
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_list)] = ()
    # Bytes of the largest request body.
    gateway_body_limit: Annotated[int, Field(ge=1)] = 64 * 1024
    # Connections that are open at a time: in all, and of an address (in IPv6: a /64) that is no trusted proxy's.
    gateway_max_connections: Annotated[int, Field(ge=1)] = 1024
    gateway_max_connections_per_address: Annotated[int, Field(ge=1)] = 256
    # Whether /docs and /openapi.json exist.
    gateway_docs: bool = True
    # Limits of an address (in IPv6: of a /64; four times as many of a /56, sixteen times of a /48) at /auth/..., of
    # started sign-ins in all, and of a user at all routes.
    gateway_auth_limit: RateLimit = parse("300/minute")
    gateway_sign_in_limit: RateLimit = parse("6000/minute")
    gateway_user_limit: RateLimit = parse("6000/minute")
    # Networks of the proxies in front of the gateway, whose X-Forwarded-For is trusted.
    gateway_trusted_proxies: Annotated[tuple[ExactNetwork, ...], NoDecode, BeforeValidator(comma_list)] = ()

    # Gmail's notifications are accepted if both are set; mail verifies them.
    google_push_audience: str | None = None
    google_push_service_account: str | None = None

    @property
    def notifying_providers(self) -> tuple[str, ...]:
        """The providers whose notifications are accepted at POST /hooks/{provider}."""
        is_set = self.google_push_audience is not None and self.google_push_service_account is not None
        return ("google",) if is_set else ()

    @property
    def issuer(self) -> str:
        """Issuer and audience of our access tokens: the public address."""
        return (self.public_url or f"http://localhost:{self.gateway_port}").rstrip("/")
