"""Parts of a soak: its size, and the faults of the provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Interval of polls without push.
POLL_SECONDS = 2.0
LEASE_SECONDS = 3.0
# Delay of a slow response in seconds.
_LATE = 1.5
# Seconds for which a call is not answered: longer than any deadline of a caller.
_NEVER = 60.0
# Of a provider's listings: the delay of its index in seconds, and one in how many answers is short.
INDEX_LAG, SHORT_LIST_EVERY = 3.0, 2
# The longest time in seconds that a mailbox may show neither progress nor a reason.
MOST_SILENT = 60.0

# A pause outlasts the worker's leases, so that another worker takes over.
KILLED = ("worker", "mail", "auth", "valkey", "postgres")
PAUSED = "paused worker"
STRIKES = frozenset({*KILLED, PAUSED})
CONNECTION_FAULTS = ("html_503", "reset", "slow", "slow_body", "truncate", "garbage", "timeout", "lost_response")
UNANSWERED = "unanswered"
LISTING_FAULTS = frozenset({"late_entries", "short_listings"})
FAULT_KINDS = frozenset({"error", UNANSWERED, *CONNECTION_FAULTS, *LISTING_FAULTS})
# The commands of IMAP that suffer each kind.
_TALK = ("imap.fetch", "imap.status", "imap.list")
IMAP_FAULTS: Mapping[str, Sequence[str]] = {
    "bye": ("imap.fetch", "imap.search"),
    "cut_literal": ("imap.fetch",),
    "stale_status": ("imap.status",),
    "duplicate_uids": ("imap.fetch",),
    "uidvalidity_reset": ("imap.examine",),
    "lying_exists": ("imap.examine",),
    "error": ("imap.search", "imap.fetch", "imap.examine"),
    **dict.fromkeys((kind for kind in CONNECTION_FAULTS if kind != "html_503"), _TALK),
    "timeout": ("imap.fetch",),
}
_IMAP = "imap "
IMAP_FAULT_KINDS = frozenset(_IMAP + kind for kind in IMAP_FAULTS)
# Connections that a server takes from an account: the worker's, one for a proof, and those of a worker that is paused.
IMAP_CONNECTIONS = 4

_UNANSWERED = {"kind": "timeout", "seconds": _NEVER}
_UNAVAILABLE = {"kind": "error", "status": 503}
_LIMITED = {"kind": "error", "status": 403, "reason": "rateLimitExceeded", "retry_after": 2.0}
_CROWDED = {
    "kind": "error",
    "status": 429,
    "reason": "rateLimitExceeded",
    "message": "Too many concurrent requests for user",
}
_BACKEND = {"status": 503, "reason": "UNAVAILABLE", "message": "Backend error"}
_REFUSED = {"kind": "error", "status": 401, "reason": "authError", "message": "Invalid Credentials"}
_HISTORY_GONE = {"kind": "error", "status": 404, "reason": "notFound", "message": "Requested entity was not found."}
_PAGE_TOKEN_GONE = {"kind": "error", "status": 400, "reason": "invalidArgument", "message": "Invalid pageToken"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """A soak of `seconds`; `operations` is the rate of changes at the provider, per second."""

    seed: int
    seconds: float
    mailboxes: int
    messages: int
    # Further mailboxes, of both IMAP servers in turn.
    imap_mailboxes: int = 0
    workers: int = 2
    operations: float = 10.0
    # Window of the provider's limits in seconds.
    quota_window: float = 60.0
    # Seconds from the end of one repair to the next kill, at most.
    calm: float = 4.0
    # Time-out of the last syncs in seconds, and before them of folders: a missing one is doubted for two minutes.
    patience: float = 180.0

    @property
    def fault_kinds(self) -> frozenset[str]:
        """The kinds of faults that have to occur."""
        return FAULT_KINDS | (IMAP_FAULT_KINDS if self.imap_mailboxes else frozenset())


def name_of(rule: Mapping[str, Any]) -> str:
    """Return the kind of a rule; a call that is held for longer than any deadline is not answered."""
    if rule["method"].startswith("imap."):
        return _IMAP + str(rule["kind"])
    return UNANSWERED if rule["kind"] == "timeout" and rule["seconds"] >= _NEVER else str(rule["kind"])


@dataclass(frozen=True, slots=True)
class FaultRules:
    """Rules of the sandbox's fault plan: each kind fires once early, and then occasionally."""

    seed: int
    probability: float = 0.03
    rules: list[Mapping[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        rules = [*self._certain(), *self._random(), *_certain_of_imap(), *_random_of_imap(self.probability / 6)]
        object.__setattr__(self, "rules", rules)

    def body(self) -> dict[str, Any]:
        """The body for the control API."""
        return {"seed": self.seed, "rules": self.rules}

    def _certain(self) -> list[Mapping[str, Any]]:
        broken = [
            {"method": method, "kind": kind, "seconds": _LATE, "after": 3 * place, "count": 1}
            for place, kind in enumerate(CONNECTION_FAULTS)
            for method in ("batch", "gmail.history.list")
        ]
        unanswered = [
            {"method": method, **_UNANSWERED, "after": after, "count": 1}
            for method, after in (("batch", 30), ("gmail.history.list", 30), ("gmail.messages.list", 5))
        ]
        return [
            *broken,
            *unanswered,
            {"method": "gmail.history.list", **_HISTORY_GONE, "after": 10, "count": 1},
            {"method": "gmail.messages.get", **_UNAVAILABLE, "after": 50, "count": 3},
            {"method": "gmail.messages.get", **_LIMITED, "after": 100, "count": 1},
            {"method": "gmail.messages.get", **_REFUSED, "after": 150, "count": 1},
            {"method": "oauth.token", **_UNAVAILABLE, "count": 1},
        ]

    def _random(self) -> list[Mapping[str, Any]]:
        often, rarely = self.probability, self.probability / 6
        connections = [
            {"method": method, "kind": kind, "seconds": _LATE, "probability": rarely}
            for kind in CONNECTION_FAULTS
            for method in ("batch", "gmail.messages.list", "gmail.history.list", "gmail.labels.list", "gmail.profile.*")
        ]
        tokens = [
            {"method": "oauth.token", "kind": kind, "seconds": _LATE, "probability": often}
            for kind in CONNECTION_FAULTS
        ]
        return [
            *connections,
            {"method": "gmail.*", **_UNANSWERED, "probability": rarely / 3},
            *tokens,
            {"method": "gmail.*", **_UNAVAILABLE, "probability": rarely},
            {"method": "gmail.*", **_REFUSED, "probability": rarely},
            {"method": "gmail.*", **_LIMITED, "probability": rarely / 3},
            {"method": "gmail.*", **_CROWDED, "probability": rarely / 3},
            {"method": "gmail.history.list", **_HISTORY_GONE, "probability": rarely},
            {"method": "gmail.messages.list", **_PAGE_TOKEN_GONE, "path": "pageToken", "probability": often},
        ]


def _certain_of_imap() -> list[Mapping[str, Any]]:
    return [
        _imap_rule(method, kind, after=2 * place, count=1)
        for place, (kind, methods) in enumerate(IMAP_FAULTS.items())
        for method in methods
    ]


def _random_of_imap(probability: float) -> list[Mapping[str, Any]]:
    return [
        _imap_rule(method, kind, probability=probability) for kind, methods in IMAP_FAULTS.items() for method in methods
    ]


def _imap_rule(method: str, kind: str, **when: float) -> Mapping[str, Any]:
    words = _BACKEND if kind == "error" else {}
    return {"method": method, "kind": kind, "seconds": _LATE, **words, **when}
