"""What the mail service and its workers read from the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.kit.settings import DatabaseSettings, RedisSettings, ServiceSettings, variables_of
from services.mail.providers.settings import NotificationSettings, ProviderSettings


class MailDatabaseSettings(DatabaseSettings):
    """MAIL_POSTGRES_..., and POSTGRES_... where those are unset."""

    service = "mail"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class MailProcessSettings(ProviderSettings, MailDatabaseSettings, RedisSettings, ServiceSettings):
    """What the service and its workers share: providers, database, Redis, auth, and how connections are secured."""

    auth_address: str = "127.0.0.1:50051"


class MailSettings(NotificationSettings, MailProcessSettings):
    """The mail service."""

    mail_host: str = "127.0.0.1"
    mail_port: int = Field(50052, ge=0, le=65535)
    mail_admin_host: str = "127.0.0.1"
    mail_admin_port: int = Field(9102, ge=0, le=65535)
    mail_postgres_pool: int = Field(10, ge=1)
    # Where messages and attachments are kept that somebody looked at; unset: a directory that goes with the process.
    mail_cache_dir: Path | None = None
    # Bytes.
    mail_cache_bytes: int = Field(1024**3, ge=0)
    mail_cache_seconds: float = Field(86_400, gt=0)


class WorkerSettings(MailProcessSettings):
    """A worker. It works on `worker_slots` mailboxes at a time, each with up to two database connections."""

    worker_admin_host: str = "127.0.0.1"
    worker_admin_port: int = Field(9103, ge=0, le=65535)
    worker_slots: int = Field(8, ge=2, le=100)
    worker_lease_seconds: float = Field(15, ge=1)
    mail_poll_seconds: float = Field(60, gt=0)
    # How often a mailbox is compared with the provider by itself: weekly; 0 is never.
    mail_verify_seconds: float = Field(604_800, ge=0)
