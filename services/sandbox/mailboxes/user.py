"""The owner of a mailbox and of an account."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class User:
    """A user of the sandbox. `sub` is the lasting key; the address may change. `hd` is the hosted domain, if any.

    `send_as` are further addresses that the user may send mail from.
    """

    sub: str
    email: str
    name: str
    email_verified: bool = True
    hd: str | None = None
    send_as: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of the user, the main one first."""
        return (self.email, *self.send_as)


class UserDirectory(Protocol):
    """All users, the same for every provider."""

    def all(self) -> Sequence[User]:
        """Return all users, oldest first."""

    def find_user(self, email: str) -> User | None:
        """Return the user with this address, in any case, or None."""

    def find_sub(self, sub: str) -> User | None:
        """Return the user with this key, or None."""
