"""The owner of a mailbox and of an account."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """A user of the sandbox. `sub` is the lasting key; the address may change. `hd` is the hosted domain, if any."""

    sub: str
    email: str
    name: str
    email_verified: bool = True
    hd: str | None = None
