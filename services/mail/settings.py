"""The settings of the mail service and its workers."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.kit.settings import (
    DatabaseSettings,
    MigrationSettings,
    Postgres,
    RedisSettings,
    ServiceSettings,
    variables_of,
)
from services.mail.providers.settings import NotificationSettings, ProviderSettings
from services.mail.sync.idle.rounds import IdleIntervals


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


class MailMigrationSettings(MigrationSettings, WorkerDatabaseSettings):
    """The settings of mail's migrations."""

    model_config = SettingsConfigDict(alias_generator=variables_of("mail"))


class MailProcessSettings(ProviderSettings, MailDatabaseSettings, RedisSettings, ServiceSettings):
    """Settings that the service and its workers share: providers, database, Redis, auth, and TLS."""

    auth_address: str = "127.0.0.1:50051"


class MailSettings(NotificationSettings, MailProcessSettings):
    """The settings of the mail service."""

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
