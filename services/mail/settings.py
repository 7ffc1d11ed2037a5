"""What the mail service and its workers read from the environment."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.kit.settings import DatabaseSettings, RedisSettings, ServiceSettings, variables_of
from services.mail.notifications import Sender
from services.mail.provider_access.quota import GMAIL_COSTS, GMAIL_DAILY_LIMITS, GMAIL_LIMITS, QuotaProfile, check_fits

GOOGLE_API_URL = "https://gmail.googleapis.com"


class MailDatabaseSettings(DatabaseSettings):
    """MAIL_POSTGRES_..., and POSTGRES_... where those are unset."""

    service = "mail"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class GmailSettings(MailDatabaseSettings, RedisSettings, ServiceSettings):
    """What the service and its workers share: the provider's quota, auth, and how connections are secured."""

    blank_matters: ClassVar[frozenset[str]] = frozenset({"gmail_batch_url"})

    auth_address: str = "127.0.0.1:50051"

    # An origin; a trailing /gmail/v1 is tolerated.
    gmail_api_url: str = GOOGLE_API_URL
    # Empty: single gets. Unset: Google's, if the API is Google's too.
    gmail_batch_url: str | None = None
    gmail_quota_profile: Literal["2026-05", "legacy"] = "2026-05"
    gmail_quota_window: float = Field(60, gt=0)
    gmail_mailbox_limit: int | None = Field(None, ge=1)
    gmail_project_limit: int | None = Field(None, ge=1)
    gmail_daily_limit: int | None = Field(None, ge=1)
    # The part of the day's units that backfills leave to live mail.
    gmail_live_reserve: float = Field(0.1, ge=0, lt=1)
    # projects/.../topics/...: where Google announces changes. Unset: nowhere, and polling finds them.
    gmail_push_topic: str | None = Field(None, pattern=r"^projects/[^/]+/topics/[^/]+$")
    # Google counts each part of a batch as a request of its own, and allows about ten at a time.
    gmail_batch_size: int = Field(10, ge=1, le=100)

    @property
    def batch_url(self) -> str | None:
        """Where batch requests go; None: nowhere."""
        if self.gmail_batch_url is None:
            return f"{GOOGLE_API_URL}/batch" if self.gmail_api_url.rstrip("/") == GOOGLE_API_URL else None
        return self.gmail_batch_url or None

    @property
    def quota(self) -> QuotaProfile:
        """Limits and costs of the chosen profile, with the overrides."""
        mailbox_limit, project_limit = GMAIL_LIMITS[self.gmail_quota_profile]
        return QuotaProfile(
            mailbox_limit=self.gmail_mailbox_limit or mailbox_limit,
            project_limit=self.gmail_project_limit or project_limit,
            window=self.gmail_quota_window,
            daily_limit=self.gmail_daily_limit or GMAIL_DAILY_LIMITS[self.gmail_quota_profile],
            live_reserve=self.gmail_live_reserve,
            costs=GMAIL_COSTS[self.gmail_quota_profile],
        )

    @model_validator(mode="after")
    def _check_batch_fits_quota(self) -> Self:
        try:
            check_fits(self.quota, self.quota.costs.get * self.gmail_batch_size)
        except ValueError as error:
            raise ValueError(f"{error}: see GMAIL_MAILBOX_LIMIT, GMAIL_PROJECT_LIMIT and GMAIL_BATCH_SIZE") from error
        return self


class MailSettings(GmailSettings):
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

    google_issuer: str = "https://accounts.google.com"
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    google_push_audience: str | None = None
    google_push_service_account: str | None = None

    @property
    def push_sender(self) -> Sender | None:
        """Who may push; None: nobody, unless both the audience and the service account are set."""
        if self.google_push_audience is None or self.google_push_service_account is None:
            return None
        return Sender(
            issuer=self.google_issuer,
            audience=self.google_push_audience,
            service_account=self.google_push_service_account,
        )


class WorkerSettings(GmailSettings):
    """A worker. `worker_slots` mailboxes are worked on at a time, each with one database connection at most."""

    worker_admin_host: str = "127.0.0.1"
    worker_admin_port: int = Field(9103, ge=0, le=65535)
    worker_slots: int = Field(8, ge=2, le=100)
    worker_lease_seconds: float = Field(15, ge=1)
    mail_poll_seconds: float = Field(60, gt=0)
    # How often a mailbox is compared with the provider by itself: weekly; 0 is never.
    mail_verify_seconds: float = Field(604_800, ge=0)
