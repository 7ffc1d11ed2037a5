"""The policy of who may sign up: addresses and domains, compared in one canonical form."""

import unicodedata
from dataclasses import dataclass
from typing import Self

import idna

from services.auth.providers.base import ProviderIdentity


class SignUpRefusedError(Exception):
    """The policy does not let this identity become a user."""


@dataclass(frozen=True)
class SignUpPolicy:
    """The addresses and domains, in canonical form, that may sign up; without any, every identity may."""

    emails: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *, emails: str, domains: str) -> Self:
        """Return the policy of two lists, separated by commas or spaces. Raises ValueError for a malformed entry."""
        return cls(
            emails=frozenset(canonical_address(entry) for entry in _entries(emails)),
            domains=frozenset(canonical_domain(entry) for entry in _entries(domains)),
        )

    def admits(self, identity: ProviderIdentity) -> bool:
        """Return whether the identity may sign up. A list admits addresses that the provider calls verified only."""
        if not self.emails and not self.domains:
            return True
        if identity.email_verified is not True:
            return False
        try:
            address = canonical_address(identity.email)
        except ValueError:
            return False
        return address in self.emails or address.rpartition("@")[2] in self.domains


def canonical_address(text: str) -> str:
    """Return an address without differences of case and of the domain's form. Raises ValueError.

    Other letters make another address, which can be another person's: strasse is not straße.
    """
    local, at, domain = text.rpartition("@")
    if not local or not at:
        raise ValueError("must be an address, such as ada@example.com")
    return f"{unicodedata.normalize('NFC', local).lower()}@{canonical_domain(domain)}"


def canonical_domain(text: str) -> str:
    """Return the ASCII form of a domain (IDNA 2008 with the mapping of UTS 46). Raises ValueError."""
    try:
        return idna.encode(text.removesuffix("."), uts46=True).decode().lower()
    except UnicodeError as error:
        raise ValueError("must be a domain, such as example.com") from error


def _entries(text: str) -> list[str]:
    return text.replace(",", " ").split()
