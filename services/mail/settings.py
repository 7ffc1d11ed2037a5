"""The settings of the mail service and its workers."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.kit.http.client_address import Network
from services.kit.settings import (
    DatabaseSettings,
    MigrationSettings,
    Postgres,
    RedisSettings,
    ServiceSettings,
    Settings,
    TracedSettings,
    comma_list,
    variables_of,
)
from services.mail.providers.settings import NotificationSettings, ProviderSettings
from services.mail.sync.idle.rounds import IdleIntervals
from services.mail.webhooks.secrets import EndpointSecrets, webhook_cipher

_MINIMUM_SECRET = 32


class MailDatabaseSettings(DatabaseSettings):
    """MAIL_POSTGRES_..., with POSTGRES_... as the default."""

    service = "mail"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class WorkerDatabaseSettings(MailDatabaseSettings):
    """WORKER_POSTGRES_USER and its password: the role of the workers, by default that of the service."""

    worker_postgres_user: str | None = None
    worker_postgres_password: SecretStr = SecretStr("")

    @property
    def worker_database(self) -> Postgres:
        """The database, entered as the role of the workers."""
        if self.worker_postgres_user is None:
            return self.database
        return self.database.model_copy(
            update={"user": self.worker_postgres_user, "password": self.worker_postgres_password}
        )


class DelivererDatabaseSettings(MailDatabaseSettings):
    """DELIVERER_POSTGRES_USER and its password: the role of the deliverers, by default that of the service."""

    deliverer_postgres_user: str | None = None
    deliverer_postgres_password: SecretStr = SecretStr("")

    @property
    def deliverer_database(self) -> Postgres:
        """The database, entered as the role of the deliverers."""
        if self.deliverer_postgres_user is None:
            return self.database
        return self.database.model_copy(
            update={"user": self.deliverer_postgres_user, "password": self.deliverer_postgres_password}
        )


class MailMigrationSettings(MigrationSettings, WorkerDatabaseSettings, DelivererDatabaseSettings):
    """The settings of mail's migrations."""

    model_config = SettingsConfigDict(alias_generator=variables_of("mail"))


class MailProcessSettings(ProviderSettings, MailDatabaseSettings, RedisSettings, ServiceSettings):
    """Settings that the service and its workers share: providers, database, Redis, auth, and TLS."""

    auth_address: str = "127.0.0.1:50051"


class WebhookSettings(Settings):
    """The settings of webhooks that the service and its deliverers share."""

    # Encrypts the secrets of endpoints. Without it the service makes no endpoint.
    mail_secret_key: SecretStr | None = None
    mail_secret_key_previous: SecretStr | None = None
    # Networks that are not public and whose receivers may be reached.
    webhook_allowed_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(comma_list)] = ()
    webhook_allow_http: bool = False

    @field_validator("mail_secret_key", "mail_secret_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _MINIMUM_SECRET:
            raise ValueError(f"needs at least {_MINIMUM_SECRET} characters; make one with `openssl rand -base64 48`")
        return value

    @property
    def webhook_secrets(self) -> EndpointSecrets | None:
        """The cipher of the endpoints' secrets; None without a key."""
        if self.mail_secret_key is None:
            return None
        previous = self.mail_secret_key_previous
        return EndpointSecrets(
            webhook_cipher(
                self.mail_secret_key.get_secret_value(),
                previous=None if previous is None else previous.get_secret_value(),
            )
        )


class MailSettings(NotificationSettings, WebhookSettings, MailProcessSettings):
    """The settings of the mail service."""

    # Endpoints of an application.
    webhook_max_endpoints: int = Field(20, ge=0)

    mail_host: str = "127.0.0.1"
    mail_port: int = Field(50052, ge=0, le=65535)
    mail_admin_host: str = "127.0.0.1"
    mail_admin_port: int = Field(9102, ge=0, le=65535)
    mail_postgres_pool: int = Field(10, ge=1)
    # The directory of cached downloads. Unset: a temporary directory of the process.
    mail_cache_dir: Path | None = None
    # Size in bytes.
    mail_cache_bytes: int = Field(1024**3, ge=0)
    mail_cache_seconds: float = Field(86_400, gt=0)
    # The gateway's public address and port: auth issues its tokens for it.
    public_url: str | None = None
    # Whether calls have to prove who asks. Off while gateways of the release before still serve.
    mail_require_principals: bool = True
    gateway_port: int = 8000

    @property
    def issuer(self) -> str:
        """Issuer and audience of the tokens that prove who asks: the public address."""
        return (self.public_url or f"http://localhost:{self.gateway_port}").rstrip("/")


class WorkerSettings(MailProcessSettings, WorkerDatabaseSettings):
    """The settings of a worker. `worker_slots` turns run at a time, each with at most one database connection."""

    worker_admin_host: str = "127.0.0.1"
    worker_admin_port: int = Field(9103, ge=0, le=65535)
    worker_slots: int = Field(8, ge=2, le=100)
    worker_lease_seconds: float = Field(15, ge=1)
    # Calls to providers at the same time, to look whether idle mailboxes have changed.
    worker_idle_checks: int = Field(32, ge=1, le=500)
    # Seconds between two looks at an active mailbox of which nothing is announced, and at the most.
    mail_poll_seconds: float = Field(60, gt=0)
    mail_poll_longest_seconds: float = Field(960, gt=0)
    # Seconds between two verifications of a mailbox, weekly by default; 0 means never.
    mail_verify_seconds: float = Field(604_800, ge=0)
    # Days for which the records of disconnected mailboxes and deleted users are kept.
    mail_disconnection_days: int = Field(365, ge=1)

    @property
    def idle_intervals(self) -> IdleIntervals:
        """How often idle mailboxes are looked at."""
        longest = max(self.mail_poll_seconds, self.mail_poll_longest_seconds)
        return IdleIntervals(shortest=self.mail_poll_seconds, longest=longest)


class DelivererSettings(WebhookSettings, DelivererDatabaseSettings, TracedSettings):
    """The settings of a deliverer. `deliverer_slots` tries are under way at a time, a part of them for one endpoint."""

    deliverer_admin_host: str = "127.0.0.1"
    deliverer_admin_port: int = Field(9105, ge=0, le=65535)
    deliverer_slots: int = Field(64, ge=1, le=1000)
    deliverer_slots_per_endpoint: int = Field(32, ge=1, le=1000)
    deliverer_postgres_pool: int = Field(10, ge=2)
    # Seconds of a try, until the answer is read.
    webhook_timeout_seconds: float = Field(15, ge=1, le=60)
    # Days without a delivery after which an endpoint is disabled, and for which delivered events are shown.
    webhook_disable_days: float = Field(5, gt=0)
    webhook_delivery_days: float = Field(3, gt=0, le=30)

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.mail_secret_key is None:
            raise ValueError("MAIL_SECRET_KEY: must be set, as for mail (docs/webhooks.md)")
        return self

    @property
    def disable_after(self) -> timedelta:
        """For how long an endpoint may take nothing."""
        return timedelta(days=self.webhook_disable_days)
