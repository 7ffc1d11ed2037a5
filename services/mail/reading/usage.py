"""What an application has used in the last hours, and the states of its mailboxes."""

from dataclasses import dataclass

from services.mail.model import MailboxCounts, Reach, UsageHour
from services.mail.store.connection import Pool
from services.mail.store.control import mailbox_overviews, usage

MOST_HOURS = int(usage.KEPT.total_seconds()) // 3600
_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The hours, oldest first, and the mailboxes as they are now."""

    mailboxes: MailboxCounts
    hours: list[UsageHour]


class UsageReports:
    """The usage of applications, of which the mailboxes within a reach count."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, reach: Reach, *, hours: int) -> Usage:
        """Return the usage of the last hours that are kept, the present one included; 0: of a day."""
        async with self._pool.acquire() as connection:
            return Usage(
                mailboxes=await mailbox_overviews.counts(connection, reach),
                hours=await usage.of_application(
                    connection,
                    reach.application_id,
                    account_ids=reach.account_ids,
                    hours=min(hours or _HOURS, MOST_HOURS),
                ),
            )
