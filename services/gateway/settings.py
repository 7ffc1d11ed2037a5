"""What the gateway reads from its environment."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from services.kit.settings import Settings


def _absolute_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc:
        raise ValueError("must be an absolute URL")
    return value


def _comma_list(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=0, le=65535)]
AbsoluteUrl = Annotated[str, AfterValidator(_absolute_url)]


class GatewaySettings(Settings):
    """Every field is the environment variable of the same name in upper case."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8000
    gateway_admin_host: str = "127.0.0.1"
    gateway_admin_port: Port = 9100
    auth_address: str = "localhost:50051"
    mail_address: str = "localhost:50052"
    mailroom_insecure_grpc: bool = False
    # Where browsers reach the gateway; also the issuer and audience of our access tokens.
    public_url: AbsoluteUrl = ""
    frontend_redirect_url: AbsoluteUrl = "http://localhost:3000/your-frontend"
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = ()
    # Bytes of a request's body.
    gateway_body_limit: Annotated[int, Field(ge=1)] = 64 * 1024
    log_level: str = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _default_public_url(cls, values: dict[str, object]) -> dict[str, object]:
        port = values.get("gateway_port") or 8000
        return values if values.get("public_url") else {**values, "public_url": f"http://localhost:{port}"}

    @model_validator(mode="after")
    def _refuse_undeclared_plaintext(self) -> Self:
        if not self.mailroom_insecure_grpc:
            raise ValueError(
                "MAILROOM_INSECURE_GRPC must be true: calls between services are not encrypted, "
                "keep them on loopback or a private network"
            )
        return self
