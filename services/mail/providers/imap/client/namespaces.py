"""Namespaces: which folders are the user's own (RFC 2342)."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.mail.providers.imap.client.values import Value, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """The beginnings of names of the user's own folders, and of those that other users, or all, have."""

    own: frozenset[bytes] = frozenset()
    foreign: frozenset[bytes] = frozenset()

    def is_foreign(self, name: bytes) -> bool:
        """Return whether a folder is another user's, or shared. Of the beginnings that its name has the longest counts.

        An empty one tells nothing: servers give it for folders of all kinds.
        """
        begins = [each for each in self.own | self.foreign if each and name.startswith(each)]
        return max(begins, key=len, default=b"") in self.foreign - self.own


def namespaces_of(values: Sequence[Value]) -> Namespaces:
    """Return the namespaces in an answer: the user's own, those of other users, and shared ones; NIL for none."""
    own, *foreign = [_prefixes(each) for each in values[:3]] or [frozenset[bytes]()]
    return Namespaces(own=own, foreign=frozenset().union(*foreign))


def _prefixes(value: Value) -> frozenset[bytes]:
    listed = value if isinstance(value, list) else []
    texts = [text_of(each[0]) for each in listed if isinstance(each, list) and each]
    return frozenset(text for text in texts if text)
