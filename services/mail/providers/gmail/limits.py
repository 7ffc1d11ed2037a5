"""Gmail's quota: units per call and per period. Source: Gmail API "Usage limits"."""

from dataclasses import dataclass
from typing import Final, Literal

from services.mail.providers.base import WatchTimes
from services.mail.providers.limits import Bucket, CallCosts, DayBucket, Per, ProviderLimits

# "legacy" applies to projects that used the API before 2026-05-01.
type QuotaGeneration = Literal["2026-05", "legacy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GmailCosts(CallCosts):
    """Units per call, that of attachments.get among them."""

    attachment: int


# Units per minute of a mailbox and of a project.
GMAIL_LIMITS: Final[dict[QuotaGeneration, tuple[int, int]]] = {
    "2026-05": (6_000, 1_200_000),
    "legacy": (15_000, 1_200_000),
}
GMAIL_DAILY_LIMITS: Final[dict[QuotaGeneration, int]] = {"2026-05": 80_000_000, "legacy": 1_000_000_000}
GMAIL_COSTS: Final[dict[QuotaGeneration, GmailCosts]] = {
    "2026-05": GmailCosts(
        profile=1,
        version=20,
        list_ids=5,
        list_labels=1,
        list_send_as=1,
        list_changes=2,
        fetch=20,
        fetch_thread=40,
        attachment=20,
        watch=100,
        stop=50,
    ),
    "legacy": GmailCosts(
        profile=1,
        version=5,
        list_ids=5,
        list_labels=1,
        list_send_as=1,
        list_changes=2,
        fetch=5,
        fetch_thread=10,
        attachment=5,
        watch=100,
        stop=50,
    ),
}
# The part of a mailbox's limit that it gets at once after a while without calls: 2,500 of 6,000 units.
BURST: Final = 2_500 / 6_000
# The part of a mailbox's limit that backfills leave to live mail in each window: 120 of 6,000 units.
LIVE_SHARE: Final = 120 / 6_000
# Seconds. An upper bound of a call (http/deadlines.py), with a margin for a late report of its end.
LONGEST_CALL: Final = 130.0
# Seconds after midnight UTC. Google's day begins at midnight in California; winter time is assumed all year.
DAY_BEGINS: Final = 8 * 3600
# A watch lasts for a week and is to be renewed daily. At most one notification a second is sent for a mailbox, further
# ones are dropped. Source: Gmail API guide "Push notifications".
WATCH_TIMES: Final = WatchTimes(renew=86_400.0, echo=1.1)
# Google counts each part of a batch as a request, and allows about ten at a time.
BATCH_SIZE: Final = 10


def gmail_limits(
    generation: QuotaGeneration,
    *,
    window: float = 60,
    mailbox_limit: int | None = None,
    project_limit: int | None = None,
    daily_limit: int | None = None,
    live_reserve: float = 0.1,
    idle_share: float = 0.25,
    burst: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> ProviderLimits:
    """Return limits and costs. A limit that is not None replaces Google's, `burst` its usual part of the limit.

    `window` is in seconds. Raises ValueError if a batch does not fit.
    """
    usual = GMAIL_LIMITS[generation]
    costs = GMAIL_COSTS[generation]
    mailbox_limit = mailbox_limit or usual[0]
    limits = {"mailbox": (Per.MAILBOX, mailbox_limit), "project": (Per.PROJECT, project_limit or usual[1])}
    share = BURST if burst is None else min(1.0, burst / mailbox_limit)
    return ProviderLimits(
        buckets=tuple(
            Bucket(name=name, per=per, limit=limit, window=window, burst=share, live_share=LIVE_SHARE)
            for name, (per, limit) in limits.items()
        ),
        day=DayBucket(
            name="day",
            limit=daily_limit or GMAIL_DAILY_LIMITS[generation],
            begins=DAY_BEGINS,
            live_reserve=live_reserve,
            idle_share=idle_share,
        ),
        costs=costs,
        concurrency=batch_size,
        batch_units=costs.fetch * batch_size,
        longest_call=LONGEST_CALL,
    )
