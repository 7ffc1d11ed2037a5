"""The settings of the auth service."""

from pydantic import Field, SecretStr, field_validator

from services.auth.command_settings import AuthKeySettings
from services.auth.providers.settings import ProviderSettings
from services.auth.sign_up import SignUpPolicy
from services.kit.settings import RedisSettings, ServiceSettings


class AuthSettings(AuthKeySettings, ProviderSettings, RedisSettings, ServiceSettings):
    """The settings of the running service."""

    auth_host: str = "127.0.0.1"
    auth_port: int = Field(50051, ge=0, le=65535)
    auth_admin_host: str = "127.0.0.1"
    auth_admin_port: int = Field(9101, ge=0, le=65535)
    auth_postgres_pool: int = Field(10, ge=1)

    auth_require_client_proof: bool = False
    auth_allowed_emails: str = ""
    auth_allowed_domains: str = ""
    auth_session_idle_seconds: int = Field(14 * 86400, ge=60)
    auth_session_seconds: int = Field(90 * 86400, ge=60)
    auth_signing_key_days: int = Field(30, ge=1)
    auth_event_days: int = Field(365, ge=1)

    # The server of sign-ins under way; what is unset is as in REDIS_...
    auth_sign_in_redis_host: str | None = None
    auth_sign_in_redis_port: int | None = None
    auth_sign_in_redis_db: int | None = Field(None, ge=0)
    auth_sign_in_redis_username: str | None = None
    auth_sign_in_redis_password: SecretStr | None = None

    @field_validator("auth_allowed_emails")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        SignUpPolicy.of(emails=value, domains="")
        return value

    @field_validator("auth_allowed_domains")
    @classmethod
    def _are_domains(cls, value: str) -> str:
        SignUpPolicy.of(emails="", domains=value)
        return value

    @property
    def sign_in_redis(self) -> RedisSettings:
        """The settings of the server that holds sign-ins under way."""
        names = ("redis_host", "redis_port", "redis_db", "redis_username", "redis_password")
        own = {name: getattr(self, f"auth_sign_in_{name}") for name in names}
        return self.model_copy(update={name: value for name, value in own.items() if value is not None})

    @property
    def sign_ups(self) -> SignUpPolicy:
        """Who may sign up."""
        return SignUpPolicy.of(emails=self.auth_allowed_emails, domains=self.auth_allowed_domains)
