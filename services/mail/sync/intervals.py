"""Waiting times for a provider's eventual consistency."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Seconds."""

    # Listings come from an index that lags behind history. Until it has caught up, a missing message proves nothing.
    listing_lag: float = 10.0
    # The pause after a listing that was too short. It triples with each further pass.
    short_listing: float = 1.0
    # Labels are looked at this often, and when a mailbox becomes quiet unless that was done a moment ago.
    labels: float = 300.0
    labels_pause: float = 30.0
    # Two answers that lack a label are so far apart at least before it goes.
    labels_confirm: float = 30.0
