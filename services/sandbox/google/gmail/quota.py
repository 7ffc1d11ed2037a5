"""Quota: unit costs of methods, limits of users and projects, and units spent.

Source: usage limits page of the Gmail API, as of 2026-05 and before (`legacy`).
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import Literal

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.errors import GoogleError

DAY = 86_400
Kind = Literal["fixed", "sliding"]

_COMMON = {
    "profile.get": 1,
    "messages.list": 5,
    "settings.sendAs.list": 1,
    "labels.list": 1,
    "labels.get": 1,
    "labels.create": 5,
    "labels.update": 5,
    "labels.patch": 5,
    "labels.delete": 5,
    "history.list": 2,
    "watch": 100,
    "stop": 50,
    "threads.list": 10,
    "threads.modify": 10,
    "threads.trash": 10,
    "threads.untrash": 10,
    "threads.delete": 20,
    "messages.modify": 5,
    "messages.untrash": 5,
    "messages.delete": 10,
    "messages.batchModify": 50,
    "messages.batchDelete": 50,
    "messages.insert": 25,
    "messages.import": 25,
    "messages.send": 100,
    "drafts.send": 100,
    "drafts.create": 10,
    "drafts.delete": 10,
    "drafts.list": 5,
    "drafts.update": 15,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Units per method (without the `gmail.` prefix) and limits per window."""

    name: str
    per_user: int
    per_project: int
    per_day: int
    units: dict[str, int]


PROFILES: dict[str, Profile] = {
    "2026-05": Profile(
        "2026-05",
        6_000,
        1_200_000,
        80_000_000,
        _COMMON
        | {
            "messages.get": 20,
            "messages.attachments.get": 20,
            "threads.get": 40,
            "messages.trash": 20,
            "threads.trash": 20,
            "drafts.get": 20,
        },
    ),
    "legacy": Profile(
        "legacy",
        15_000,
        1_200_000,
        1_000_000_000,
        _COMMON
        | {
            "messages.get": 5,
            "messages.attachments.get": 5,
            "threads.get": 10,
            "messages.trash": 5,
            "drafts.get": 5,
        },
    ),
}


@dataclass(slots=True)
class Meter:
    """Units spent by one user or project. The sliding sum is always kept, for the true peak."""

    total: int = 0
    rejected: int = 0
    peak_fixed: int = 0
    peak_sliding: int = 0
    window: int = -1
    in_window: int = 0
    day: int = -1
    in_day: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    in_recent: int = 0
    retry_at: float = 0.0

    def advance(self, now: float, length: float) -> None:
        """Drop spending from before the windows that `now` is in."""
        window = floor(now / length)
        if window != self.window:
            self.window, self.in_window = window, 0
        day = floor(now / DAY)
        if day != self.day:
            self.day, self.in_day = day, 0
        while self.recent and self.recent[0][0] <= now - length:
            self.in_recent -= self.recent.popleft()[1]

    def spend(self, now: float, units: int) -> None:
        """Count an admitted call."""
        self.total += units
        self.in_day += units
        self.in_window += units
        self.in_recent += units
        self.recent.append((now, units))
        self.peak_fixed = max(self.peak_fixed, self.in_window)
        self.peak_sliding = max(self.peak_sliding, self.in_recent)

    def report(self) -> dict[str, int]:
        """Return counts for the control API."""
        return {
            "units": self.total,
            "rejected": self.rejected,
            "peak_fixed_window": self.peak_fixed,
            "peak_sliding_window": self.peak_sliding,
        }


@dataclass(frozen=True, slots=True)
class QuotaErrors:
    """Form of a refusal. Google uses both statuses, with and without the time to retry."""

    user_status: int = 403
    names_time: bool = True
    hammer_penalty: float = 0.0
    """Seconds by which a call before the named time defers that time."""


class Quota:
    """Admits or refuses calls. `window` is in seconds; limits apply per window, whatever its length."""

    def __init__(
        self,
        *,
        clock: Clock,
        profile: str = "2026-05",
        window: float = 60.0,
        kind: Kind = "fixed",
        concurrency: int = 10,
        errors: QuotaErrors | None = None,
    ) -> None:
        self.profile = PROFILES[profile]
        self.window = window
        self.kind: Kind = kind
        self.concurrency = concurrency
        self.errors = errors or QuotaErrors()
        self._clock = clock
        self._users: dict[str, Meter] = {}
        self._projects: dict[str, Meter] = {}
        self._running: dict[str, int] = {}
        self._peak_running: dict[str, int] = {}

    def cost(self, method: str) -> int:
        """Return the units of a method, 1 without an entry."""
        return self.profile.units.get(method.removeprefix("gmail."), 1)

    def admit(self, method: str, *, user: str, project: str) -> GoogleError | None:
        """Spend the units of a call, or return the refusal; a refused call costs nothing."""
        units = self.cost(method)
        now = self._clock.now()
        user_meter = self._users.setdefault(user, Meter())
        project_meter = self._projects.setdefault(project, Meter())
        user_meter.advance(now, self.window)
        project_meter.advance(now, self.window)
        refusal = self._refusal(user_meter, project_meter, units, now)
        if refusal is not None:
            user_meter.rejected += 1
            project_meter.rejected += 1
            return refusal
        user_meter.spend(now, units)
        project_meter.spend(now, units)
        return None

    def enter(self, user: str, calls: int = 1) -> bool:
        """Take slots for concurrent calls of a mailbox. False if too few are free."""
        running = self._running.get(user, 0)
        if running + calls > self.concurrency and running:
            return False
        self._running[user] = running + calls
        self._peak_running[user] = max(self._peak_running.get(user, 0), running + calls)
        return True

    def leave(self, user: str, calls: int = 1) -> None:
        """Release slots."""
        self._running[user] -= calls

    def reset(self) -> None:
        """Reset all spending."""
        self._users.clear()
        self._projects.clear()
        self._peak_running.clear()

    def report(self) -> dict[str, object]:
        """Return spending by user and project, with the limits in force."""
        return {
            "profile": self.profile.name,
            "window": self.window,
            "kind": self.kind,
            "limits": {"per_user": self.profile.per_user, "per_project": self.profile.per_project},
            "users": {
                user: meter.report() | {"peak_concurrency": self._peak_running.get(user, 0)}
                for user, meter in self._users.items()
            },
            "projects": {project: meter.report() for project, meter in self._projects.items()},
        }

    def _refusal(self, user_meter: Meter, project_meter: Meter, units: int, now: float) -> GoogleError | None:
        if self.errors.hammer_penalty and now < user_meter.retry_at:
            user_meter.retry_at += self.errors.hammer_penalty
            return self._over_user_limit(user_meter.retry_at)
        if project_meter.in_day + units > self.profile.per_day:
            return GoogleError(403, "dailyLimitExceeded", "Daily Limit Exceeded", domain="usageLimits")
        if self._used(project_meter) + units > self.profile.per_project:
            return GoogleError(403, "rateLimitExceeded", "Rate Limit Exceeded", domain="usageLimits")
        if self._used(user_meter) + units > self.profile.per_user:
            user_meter.retry_at = self._free_at(user_meter, units, now)
            return self._over_user_limit(user_meter.retry_at)
        return None

    def _used(self, meter: Meter) -> int:
        return meter.in_window if self.kind == "fixed" else meter.in_recent

    def _free_at(self, meter: Meter, units: int, now: float) -> float:
        if self.kind == "fixed":
            return (meter.window + 1) * self.window
        excess = meter.in_recent + units - self.profile.per_user
        for time, spent in meter.recent:
            excess -= spent
            if excess <= 0:
                return time + self.window
        return now + self.window

    def _over_user_limit(self, retry_at: float) -> GoogleError:
        status = self.errors.user_status
        if not self.errors.names_time:
            message = (
                "Quota exceeded for quota metric 'Total Query Cost' and limit 'Units per minute per user' of service "
                "'gmail.googleapis.com' for consumer 'project_number:100000000000'."
            )
            return GoogleError(status, "rateLimitExceeded", message, domain="usageLimits")
        return GoogleError(
            status,
            "rateLimitExceeded" if status == 403 else "userRateLimitExceeded",
            f"User-rate limit exceeded.  Retry after {google_time(retry_at)}",
            domain="usageLimits",
            inner_message="User-rate limit exceeded.",
        )


def google_time(epoch: float) -> str:
    """Format epoch seconds as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
