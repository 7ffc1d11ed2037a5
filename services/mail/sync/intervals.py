"""How long the sync waits for what a provider does only in time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Seconds."""

    # Listings come from an index that lags behind history: until it has caught up, what a listing lacks means nothing.
    listing_lag: float = 10.0
