"""The settings of Gmail."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from services.kit.settings import Settings
from services.mail.providers.gmail.limits import BATCH_SIZE, GMAIL_COSTS, GmailCosts, QuotaGeneration, gmail_limits
from services.mail.providers.gmail.push_sender import Sender
from services.mail.providers.limits import ProviderLimits

GOOGLE_API_URL = "https://gmail.googleapis.com"


class GmailSettings(Settings):
    """Gmail's addresses and limits."""

    blank_matters: ClassVar[frozenset[str]] = frozenset({"gmail_batch_url"})

    # An origin, with or without a trailing /gmail/v1.
    gmail_api_url: str = GOOGLE_API_URL
    # Empty turns batches off. The default is Google's endpoint if the API is Google's, else none.
    gmail_batch_url: str | None = None
    gmail_quota_profile: QuotaGeneration = "2026-05"
    gmail_quota_window: float = Field(60, gt=0)
    gmail_mailbox_limit: int | None = Field(None, ge=1)
    gmail_project_limit: int | None = Field(None, ge=1)
    gmail_daily_limit: int | None = Field(None, ge=1)
    # The part of the day's units that backfills leave to live mail.
    gmail_live_reserve: float = Field(0.1, ge=0, lt=1)
    # The part of the day's units for idle checks. What they leave goes to backfills.
    gmail_idle_share: float = Field(0.25, gt=0, lt=1)
    # Units that a mailbox gets at once after a while without calls. Default: 2,500 of Gmail's 6,000, in proportion.
    gmail_quota_burst: int | None = Field(None, ge=1)
    # projects/.../topics/... for Google's notifications. Unset turns them off: polling finds the changes.
    gmail_push_topic: str | None = Field(None, pattern=r"^projects/[^/]+/topics/[^/]+$")
    gmail_batch_size: int = Field(BATCH_SIZE, ge=1, le=100)

    @property
    def batch_url(self) -> str | None:
        """The address of batch requests; None means single gets."""
        if self.gmail_batch_url is None:
            return f"{GOOGLE_API_URL}/batch" if self.gmail_api_url.rstrip("/") == GOOGLE_API_URL else None
        return self.gmail_batch_url or None

    @property
    def gmail_limits(self) -> ProviderLimits:
        """Return limits and costs of the chosen profile, with the overrides."""
        return gmail_limits(
            self.gmail_quota_profile,
            window=self.gmail_quota_window,
            mailbox_limit=self.gmail_mailbox_limit,
            project_limit=self.gmail_project_limit,
            daily_limit=self.gmail_daily_limit,
            live_reserve=self.gmail_live_reserve,
            idle_share=self.gmail_idle_share,
            burst=self.gmail_quota_burst,
            batch_size=self.gmail_batch_size,
        )

    @property
    def gmail_costs(self) -> GmailCosts:
        """Return the costs of calls in the chosen profile."""
        return GMAIL_COSTS[self.gmail_quota_profile]

    @model_validator(mode="after")
    def _check_parts_of_day(self) -> Self:
        if self.gmail_live_reserve + self.gmail_idle_share >= 1:
            raise ValueError("GMAIL_LIVE_RESERVE and GMAIL_IDLE_SHARE leave backfills nothing of the day")
        return self

    @model_validator(mode="after")
    def _check_batch_fits_quota(self) -> Self:
        try:
            self.gmail_limits  # noqa: B018 - raises if a batch does not fit
        except ValueError as error:
            raise ValueError(f"{error}: see GMAIL_MAILBOX_LIMIT, GMAIL_PROJECT_LIMIT and GMAIL_BATCH_SIZE") from error
        return self


class GmailPushSettings(Settings):
    """The permitted sender of Gmail's notifications, and the address of its public keys."""

    google_issuer: str = "https://accounts.google.com"
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    google_push_audience: str | None = None
    google_push_service_account: str | None = None

    @property
    def push_sender(self) -> Sender | None:
        """The permitted sender; None unless both the audience and the service account are set."""
        if self.google_push_audience is None or self.google_push_service_account is None:
            return None
        return Sender(
            issuer=self.google_issuer,
            audience=self.google_push_audience,
            service_account=self.google_push_service_account,
        )
