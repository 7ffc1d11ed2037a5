"""Addresses in settings."""

from urllib.parse import urlsplit


def is_url(value: str | None) -> str | None:
    """Return the value if it is blank or an address. Raises ValueError."""
    if value:
        parts = urlsplit(value)
        # Hosts are logged at start.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or "@" in parts.netloc:
            raise ValueError("must be an http(s) URL without a user, a password or a fragment")
    return value
