"""Gmail's quota: units per call and per period. Source: Gmail API "Usage limits"."""

from typing import Final, Literal

from services.mail.provider_access.quota import QuotaProfile
from services.mail.providers.base import UnitCosts

# "legacy" applies to projects that used the API before 2026-05-01.
type QuotaGeneration = Literal["2026-05", "legacy"]

# Units per minute of a mailbox and of a project.
GMAIL_LIMITS: Final[dict[QuotaGeneration, tuple[int, int]]] = {
    "2026-05": (6_000, 1_200_000),
    "legacy": (15_000, 1_200_000),
}
GMAIL_DAILY_LIMITS: Final[dict[QuotaGeneration, int]] = {"2026-05": 80_000_000, "legacy": 1_000_000_000}
GMAIL_COSTS: Final[dict[QuotaGeneration, UnitCosts]] = {
    "2026-05": UnitCosts(
        profile=1,
        list_page=5,
        labels=1,
        send_as=1,
        history_page=2,
        get=20,
        thread=40,
        attachment=20,
        watch=100,
        stop=50,
    ),
    "legacy": UnitCosts(
        profile=1, list_page=5, labels=1, send_as=1, history_page=2, get=5, thread=10, attachment=5, watch=100, stop=50
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


def gmail_quota(
    generation: QuotaGeneration,
    *,
    window: float = 60,
    mailbox_limit: int | None = None,
    project_limit: int | None = None,
    daily_limit: int | None = None,
    live_reserve: float = 0.1,
    idle_share: float = 0.25,
    burst: int | None = None,
) -> QuotaProfile:
    """Return limits and costs. A limit that is not None replaces Google's, `burst` its usual part of the limit.

    `window` is in seconds.
    """
    limits = GMAIL_LIMITS[generation]
    mailbox_limit = mailbox_limit or limits[0]
    return QuotaProfile(
        mailbox_limit=mailbox_limit,
        project_limit=project_limit or limits[1],
        window=window,
        daily_limit=daily_limit or GMAIL_DAILY_LIMITS[generation],
        live_reserve=live_reserve,
        idle_share=idle_share,
        day_begins=DAY_BEGINS,
        costs=GMAIL_COSTS[generation],
        burst=BURST if burst is None else min(1.0, burst / mailbox_limit),
        live_share=LIVE_SHARE,
        longest_call=LONGEST_CALL,
    )
