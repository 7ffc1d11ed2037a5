"""Waiting times for a provider's eventual consistency."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Seconds."""

    # Listings come from an index that lags behind history. Until it has caught up, a missing message proves nothing.
    listing_lag: float = 10.0
