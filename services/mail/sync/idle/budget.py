"""Whether looks at all idle mailboxes fit into the day's units that are theirs."""

import structlog

from services.mail.providers.limits import ProviderLimits
from services.mail.store.connection import Connection
from services.mail.store.control import idle_mailboxes
from services.mail.sync.idle.rounds import IdleIntervals

log = structlog.get_logger()


def fitting_longest(intervals: IdleIntervals, *, units_needed: float, units_allowed: float) -> float:
    """Return the longest interval, in seconds, that has to be allowed so that the looks fit."""
    longest = intervals.longest_in_effect
    while units_needed > units_allowed:
        longest, units_needed = longest * 2, units_needed / 2
    return longest


async def report_misfit(
    connection: Connection, provider: str, *, limits: ProviderLimits, intervals: IdleIntervals
) -> bool:
    """Log an error, with what would fit, if looks as rare as they may be take more than their part of the day."""
    if limits.day is None:
        return False
    mailboxes = await idle_mailboxes.count(connection, provider)
    needed = mailboxes * intervals.least_units(limits.costs)
    allowed = limits.day.limit * limits.day.idle_share
    if needed <= allowed:
        return False
    log.error(
        "idle checks do not fit their part of the day's units: they come later than MAIL_POLL_LONGEST_SECONDS",
        provider=provider,
        mailboxes=mailboxes,
        units_needed=round(needed),
        units_allowed=round(allowed),
        longest_seconds_that_fit=fitting_longest(intervals, units_needed=needed, units_allowed=allowed),
        share_that_fits=round(needed / limits.day.limit, 2),
    )
    return True
