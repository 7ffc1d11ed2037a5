"""Settings of the sandbox: variables named `SANDBOX_...`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.kit.settings import LogLevel
from services.kit.settings import Settings as KitSettings

DEV_CLIENT_ID = "100000000000-sandbox.apps.googleusercontent.com"
DEV_CLIENT_SECRET = "GOCSPX-sandbox-secret"  # noqa: S105 - the public pair of a stand-in
_CONSENT = "this process signs in any user without a password; set SANDBOX_ENABLED=true to confirm that it is a sandbox"


def _split(value: object) -> object:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _origin(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value.rstrip("/")


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Origin = Annotated[str, AfterValidator(_origin)]


class Settings(KitSettings):
    """Settings of the sandbox."""

    model_config = SettingsConfigDict(alias_generator=lambda name: f"SANDBOX_{name.upper()}")

    # Named in full: errors report an absent variable by the name of its field.
    sandbox_enabled: bool = Field(default=False, validate_default=True, validation_alias="SANDBOX_ENABLED")
    host: str = "127.0.0.1"
    port: int = Field(default=8100, ge=0, le=65535)
    public_url: Origin | None = Field(default=None, description="issuer and what browsers call; follows the port")
    log_level: LogLevel = Field(default="INFO", validation_alias="LOG_LEVEL")

    client_id: str = DEV_CLIENT_ID
    client_secret: SecretStr = SecretStr(DEV_CLIENT_SECRET)
    redirect_uris: Listed = Field(default=(), description="exact; none = any address of this machine")
    grants_file: Path | None = Field(default=None, description="keeps grants over a restart")
    token_ttl: int = Field(default=3599, ge=1, description="seconds an access token lives")

    imap_host: str = Field(default="127.0.0.1", description="where the IMAP servers listen")
    imap_yandex_port: int | None = Field(default=None, ge=0, le=65535, description="unset: no such server")
    imap_modern_port: int | None = Field(default=None, ge=0, le=65535, description="unset: no such server")
    imap_ca_file: Path | None = Field(default=None, description="gets the authority that clients have to trust")

    users: Listed = ("ada@example.com", "grace@example.org")
    messages: int = Field(default=500, ge=0, description="generated for each of these users")
    seed: int = 0

    quota_profile: Literal["2026-05", "legacy"] = "2026-05"
    quota_window: float = Field(default=60.0, gt=0, description="seconds for which the limits count")
    quota_kind: Literal["fixed", "sliding"] = "fixed"
    concurrency: int = Field(default=10, ge=1, description="calls at a time per mailbox")
    history_retention: float = Field(default=7 * 86_400.0, gt=0, description="seconds")
    attachment_inline_limit: int = Field(default=0, ge=0, description="bytes up to which an attachment comes inline")

    push_endpoint: str | None = None
    push_audience: str | None = None
    push_service_account: str = "gmail-push@sandbox.iam.gserviceaccount.com"

    @field_validator("sandbox_enabled")
    @classmethod
    def _must_be_meant(cls, value: bool) -> bool:
        if not value:
            raise ValueError(_CONSENT)
        return value

    @property
    def imap_ports(self) -> dict[str, int]:
        """The ports of the IMAP servers by profile, 0 for any."""
        ports = {"yandex": self.imap_yandex_port, "modern": self.imap_modern_port}
        return {name: port for name, port in ports.items() if port is not None}

    @property
    def issuer(self) -> str:
        """The OIDC issuer, which is also the base of every address that browsers open."""
        return self.public_url or f"http://localhost:{self.port}"
