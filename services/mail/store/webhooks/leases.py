"""Leases of deliverers: each is for one try, or for one event after the other of a feed."""

# A lease that ends later than any claim makes it is from before the clock was set back.
_LONGEST = "interval '15 minutes'"


def is_free(row: str) -> str:
    """Return the condition that no deliverer has a lease of a row."""
    return f"({row}.lease_until IS NULL OR {row}.lease_until NOT BETWEEN now() AND now() + {_LONGEST})"
