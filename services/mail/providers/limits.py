"""The limits of a provider as its adapter declares them: named buckets, and what each call costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# What the calls of sessions and downloads cost. An adapter takes whatever else its buckets count by itself.
UNITS: Final = "units"


class Per(StrEnum):
    """The calls that a bucket counts together: those of one identity at the provider, or those of all."""

    MAILBOX = "mailbox"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """At most `limit` of what it `counts` in any `window` of so many seconds.

    `name` names the count in Redis: no other bucket of any provider has it, and it never changes. `burst` is the part
    of the limit that may be spent at once, the rest is paced evenly over the window. `live_share` is the part that
    backfills leave to live mail in each window.
    """

    name: str
    per: Per
    limit: int
    window: float
    counts: str = UNITS
    burst: float = 1.0
    live_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBucket:
    """At most `limit` units of the whole project in a calendar day, which `begins` so many seconds after midnight UTC.

    `name` is as a bucket's. `live_reserve` is the part that backfills leave to live mail. `idle_share` is the part for
    idle checks, spent evenly; the rest of it goes to backfills with time.
    """

    name: str
    limit: int
    begins: float
    live_reserve: float = 0.1
    idle_share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCosts:
    """Units per call of each method of a session. A provider without units has calls that cost 1.

    `fetch` is a message, `fetch_thread` all messages of a thread at once; None where the provider has no such call.
    """

    profile: int = 1
    version: int = 1
    list_ids: int = 1
    list_labels: int = 1
    list_send_as: int = 1
    list_changes: int = 1
    fetch: int = 1
    fetch_thread: int | None = None
    watch: int = 1
    stop: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimits:
    """A provider's limits. Raises ValueError if a batch leaves a mailbox no units, or other mailboxes no turn.

    `concurrency` is how many messages may be requested at once from a mailbox, `batch_units` what they cost.
    `longest_call` is in seconds: a call without a reported end counts as ended then.
    """

    buckets: tuple[Bucket, ...]
    day: DayBucket | None = None
    costs: CallCosts
    concurrency: int
    batch_units: int
    longest_call: float

    def __post_init__(self) -> None:
        room = {Per.MAILBOX: lambda limit: limit - 1, Per.PROJECT: lambda limit: limit // 2}
        most = min((room[bucket.per](bucket.limit) for bucket in self.counting(UNITS)), default=self.batch_units)
        if self.batch_units > most:
            raise ValueError(f"the quota does not allow batches of {self.batch_units} units, {most} at most")

    def counting(self, counts: str) -> Iterator[Bucket]:
        """Return the buckets that count this."""
        return (bucket for bucket in self.buckets if bucket.counts == counts)

    def smallest(self, per: Per) -> Bucket | None:
        """Return the bucket of units with the lowest rate; None if there is none of these."""
        found = (bucket for bucket in self.counting(UNITS) if bucket.per is per)
        return min(found, key=lambda bucket: bucket.limit / bucket.window, default=None)

    @property
    def seconds_per_message(self) -> float:
        """The time that a mailbox's messages take on average when only the limits count."""
        slowest = self.smallest(Per.MAILBOX)
        return 0.0 if slowest is None else self.costs.fetch * slowest.window / slowest.limit
