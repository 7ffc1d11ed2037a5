"""What a copy has cost: units by Mailroom's account and by the provider's, rejected calls, claims."""

import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from services.mail.providers.gmail.limits import DAY_BEGINS
from services.mail.store.connection import Pool
from tests.support.mail.sandbox_control import Sandbox

# A turn ends after five batches or two seconds, and a wait for units takes half a second at least.
_CLAIMS_A_SECOND = 4
# First claims, those of triggers, and of turns that fail.
_CLAIMS_BESIDES = 20
# Pages that a turn lists, if it is short of neither time nor units.
_PAGES_OF_TURN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of all mailboxes together, since the stage was set `seconds` ago."""

    units_taken: int
    units_counted: int
    rejected: int
    claims: int
    messages: int
    pages: int
    seconds: float

    def check(self, *, exactly_paid: bool) -> None:
        """Assert that the provider refused nothing, that every call was paid for, and that no turn was in vain.

        Without `exactly_paid` more may be paid than the provider counts: calls can get lost, or be refused by a fault.
        """
        assert self.rejected == 0, self
        assert self.units_counted <= self.units_taken, self
        assert self.units_counted == self.units_taken or not exactly_paid, self
        # Each turn stores fifty messages or lists five pages, unless it has waited.
        worked = self.messages / 10 + self.pages / _PAGES_OF_TURN
        assert self.claims <= _CLAIMS_BESIDES + worked + _CLAIMS_A_SECOND * self.seconds, self


async def begin_count(redis: Redis, *, spent: int = 0) -> None:
    """Count the units of the day from zero, or from `spent`, and those of the next day, which can begin within a test.

    An absent count would begin with an evenly spent day's.
    """
    today = int((time.time() - DAY_BEGINS) // 86_400)
    await redis.mset({f"mail:quota:day:{day}": spent for day in (today, today + 1)})


async def count(*, redis: Redis, pool: Pool, sandbox: Sandbox, began: float) -> Cost:
    """Count what was spent since `began` (monotonic), when the stage was set."""
    calls = await sandbox.control("GET", "calls")
    users: dict[str, Any] = calls["quota"]["users"]
    return Cost(
        # Of the day on which the stage was set, and of the next one. Those of looks are in it, and counted apart, too.
        units_taken=sum([int(await redis.get(key) or 0) async for key in redis.scan_iter("mail:quota:day:*[0-9]")]),
        units_counted=sum(user["units"] for user in users.values()),
        rejected=sum(user["rejected"] for user in users.values()),
        claims=int(await pool.fetchval("SELECT coalesce(sum(lease_epoch), 0) FROM mailbox_schedule")),
        messages=int(await pool.fetchval("SELECT count(*) FROM messages")),
        pages=calls["methods"].get("gmail.messages.list", {"calls": 0})["calls"],
        seconds=time.monotonic() - began,
    )
