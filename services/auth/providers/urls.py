"""Addresses in settings."""

from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that are this machine: what is sent there crosses no network."""


def is_url(value: str | None) -> str | None:
    """Return the value if it is blank or an address. Raises ValueError."""
    if value:
        parts = urlsplit(value)
        # Hosts are logged at start.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or "@" in parts.netloc:
            raise ValueError("must be an http(s) URL without a user, a password or a fragment")
    return value


def is_private_url(value: str) -> str:
    """Return the value if it is an address to which codes, secrets and tokens may be sent. Raises ValueError."""
    is_url(value)
    parts = urlsplit(value)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ValueError("must be an https URL: plain http is for this machine (localhost) only")
    return value
