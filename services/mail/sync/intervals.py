"""How long the sync waits for what a provider does only in time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Seconds."""

    # Listings come from an index that lags behind history: until it has caught up, what a listing lacks means nothing.
    listing_lag: float = 10.0
    # Labels are looked at this often, and when a mailbox becomes quiet unless that was done a moment ago.
    labels: float = 300.0
    labels_pause: float = 30.0
    # Two answers that lack a label are so far apart at least before it goes.
    labels_confirm: float = 30.0
