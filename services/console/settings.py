"""The settings of the console."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from services.kit.settings import ProcessSettings

_SECRET_LENGTH = 32


def _origin(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value.rstrip("/")


Port = Annotated[int, Field(ge=0, le=65535)]
Origin = Annotated[str, AfterValidator(_origin)]


class ConsoleSettings(ProcessSettings):
    """The settings, each named after its environment variable in lower case."""

    console_host: str = "127.0.0.1"
    console_port: Port = 8001
    console_admin_host: str = "127.0.0.1"
    console_admin_port: Port = 9104
    # Where this process reaches the gateway; the pages' examples name PUBLIC_URL.
    console_gateway_url: Origin = "http://127.0.0.1:8000"
    public_url: Origin | None = None
    # Where this process reaches a sandbox; unset: there is none.
    console_sandbox_url: Origin | None = None
    # Where browsers reach the console: with https its cookies are sent over TLS only.
    console_public_url: Origin | None = None
    # Encrypts sessions; 32 or more characters. Unset: a random one, so that sessions end with the process.
    console_secret_key: SecretStr | None = None
    # Where this process reaches all processes of the console, a host with a port; unset: it is the only one.
    console_peers: Annotated[str, Field(pattern=r"^[^/:\s]+:\d{1,5}$")] | None = None
    # A file that keeps the ids of sessions that were signed out over a restart; unset: only its peers keep them.
    console_ended_sessions_file: Path | None = None
    # Seconds without a request after which a session ends, and seconds after which it ends in any case.
    console_idle_seconds: Annotated[int, Field(ge=60)] = 1800
    console_session_seconds: Annotated[int, Field(ge=60)] = 43200

    @field_validator("console_secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _SECRET_LENGTH:
            raise ValueError(f"must have {_SECRET_LENGTH} characters or more")
        return value

    @model_validator(mode="after")
    def _shares_a_secret(self) -> Self:
        if self.console_peers is not None and self.console_secret_key is None:
            raise ValueError("CONSOLE_PEERS needs CONSOLE_SECRET_KEY, the same at all processes")
        return self

    @property
    def address(self) -> str:
        """Where browsers reach the console."""
        return self.console_public_url or f"http://localhost:{self.console_port}"

    @property
    def api(self) -> str:
        """Where users of the API reach the gateway."""
        return self.public_url or self.console_gateway_url
