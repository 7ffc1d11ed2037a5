"""The sender of notifications. Settings hold it, and load nothing else of what handles notifications."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The only permitted sender, by the claims of its tokens."""

    issuer: str
    audience: str
    service_account: str
