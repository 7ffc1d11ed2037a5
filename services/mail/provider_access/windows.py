"""The sliding windows of buckets, as the quota scripts are told about them."""

from dataclasses import dataclass
from typing import Final

from services.mail.provider_access.watermarks import FEW_UNITS, Level
from services.mail.providers.limits import UNITS, Bucket, Per, ProviderLimits

# Rounding the few calls of a mailbox up to a long slot would waste units.
_SLOTS: Final = {Per.MAILBOX: 600, Per.PROJECT: 60}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A bucket's limit, the part of it that is kept for live mail, and the part that may be spent at once."""

    bucket: Bucket
    live: int
    burst: int

    @property
    def is_shared(self) -> bool:
        """Whether the calls of all mailboxes count together."""
        return self.bucket.per is Per.PROJECT

    @property
    def numbers(self) -> tuple[float, int, int, int, int]:
        """The arguments of read_window (quota_window.lua)."""
        return self.bucket.window, _SLOTS[self.bucket.per], self.bucket.limit, self.live, self.burst

    def key(self, identity: str) -> str:
        """Return the key of its count in Redis."""
        name = f"mail:quota:window:{self.bucket.name}"
        return name if self.is_shared else f"{name}:{identity}"

    def units(self, level: Level) -> int:
        """Return how many units a mailbox has in use at most under a mark of this level."""
        return min(self.bucket.limit, (0, FEW_UNITS, self.bucket.limit)[level])


def windows_of(limits: ProviderLimits, counts: str) -> tuple[Window, ...]:
    """Return the windows of the buckets that count this."""
    batch = limits.batch_units if counts == UNITS else 1
    return tuple(_window(bucket, batch=batch) for bucket in limits.counting(counts))


def _window(bucket: Bucket, *, batch: int) -> Window:
    live = min(int(bucket.limit * bucket.live_share), bucket.limit - batch)
    burst = min(bucket.limit - live, max(batch, int(bucket.limit * bucket.burst)))
    return Window(bucket=bucket, live=live, burst=burst)
