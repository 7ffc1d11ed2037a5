"""Ids of messages and syncs, and positions in change feeds: opaque strings that name a mailbox and something in it.

They prove nothing about the owner: the use case that gets one checks it. Nor do they show the numbers, which count
mailboxes and messages: a pair of numbers is encrypted as one block, under a key of the database. So no id is stored,
and no two of them are alike.
"""

import base64
import binascii
import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from msgspec import Struct

_PAIR = struct.Struct(">QQ")
_NUMBER = struct.Struct(">Q")
_TRIPLE = struct.Struct(">QQQ")
# Numbers of mailboxes and of things in them stay below; a block that was not made here decrypts to such ones once in
# four billion times.
_MAILBOX_LIMIT, _LOCAL_LIMIT = 2**40, 2**56
# The byte above the number of a thing, so that no id of a message is one of a sync.
_MESSAGE, _SYNC, _POSITION = 0, 1, 2
# Postgres's bigint is signed.
_LIMIT = 2**63


class PublicId(Struct, frozen=True, gc=False):
    """The numbers that the public id of a message or of a sync stands for."""

    mailbox_id: int
    local_id: int


class FeedPosition(Struct, frozen=True, gc=False):
    """A position in the change feed of a mailbox: a change's number in an incarnation of the feed."""

    mailbox_id: int
    incarnation: int
    seq: int


class PublicIds:
    """The spelling of ids and positions.

    Mailboxes up to the number `plain_until` have plain numbers in theirs, which clients have stored; a message and a
    sync of these can have the same id.
    """

    def __init__(self, key: bytes, *, plain_until: int) -> None:
        # Each pair is a block of its own and no two pairs are alike, so nothing is there for a mode to hide.
        cipher = Cipher(AES128(key), ECB())  # noqa: S305
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._plain_until = plain_until

    def encode(self, mailbox_id: int, local_id: int) -> str:
        """Return the public id of a message of a mailbox."""
        return _to_text(self._hide(mailbox_id, local_id, kind=_MESSAGE))

    def parse(self, public_id: str) -> PublicId | None:
        """Parse the public id of a message; None if it is none."""
        return self._parse(public_id, kind=_MESSAGE)

    def encode_sync(self, mailbox_id: int, local_id: int) -> str:
        """Return the public id of a sync of a mailbox."""
        return _to_text(self._hide(mailbox_id, local_id, kind=_SYNC))

    def parse_sync(self, public_id: str) -> PublicId | None:
        """Parse the public id of a sync; None if it is none."""
        return self._parse(public_id, kind=_SYNC)

    def encode_position(self, position: FeedPosition) -> str:
        """Return the spelling of a position in a change feed."""
        mailbox_id, incarnation, seq = position.mailbox_id, position.incarnation, position.seq
        if self._is_plain(mailbox_id):
            return _to_text(_TRIPLE.pack(mailbox_id, incarnation, seq))
        return _to_text(self._hide(mailbox_id, seq, kind=_POSITION) + _NUMBER.pack(incarnation))

    def parse_position(self, position: str) -> FeedPosition | None:
        """Parse a position; None if it is malformed.

        Plain ones from before feeds had incarnations are a pair, and belong to incarnation 0.
        """
        given = _to_bytes(position, _TRIPLE.size)
        if given is None:
            pair = self._reveal(_to_bytes(position, _PAIR.size), kind=_POSITION)
            return FeedPosition(pair[0], 0, pair[1]) if pair is not None and self._is_plain(pair[0]) else None
        plain = FeedPosition(*_TRIPLE.unpack(given))
        if self._is_plain(plain.mailbox_id):
            return plain if max(plain.incarnation, plain.seq) < _LIMIT else None
        pair, [incarnation] = self._reveal(given[: _PAIR.size], kind=_POSITION), _NUMBER.unpack(given[_PAIR.size :])
        return None if pair is None or incarnation >= _LIMIT else FeedPosition(pair[0], incarnation, pair[1])

    def _is_plain(self, mailbox_id: int) -> bool:
        return 0 < mailbox_id <= self._plain_until

    def _parse(self, public_id: str, *, kind: int) -> PublicId | None:
        pair = self._reveal(_to_bytes(public_id, _PAIR.size), kind=kind)
        return None if pair is None else PublicId(*pair)

    def _hide(self, mailbox_id: int, number: int, *, kind: int) -> bytes:
        if self._is_plain(mailbox_id):
            return _PAIR.pack(mailbox_id, number)
        return self._encrypt(_PAIR.pack(mailbox_id, kind * _LOCAL_LIMIT + number))

    def _reveal(self, block: bytes | None, *, kind: int) -> tuple[int, int] | None:
        """Return the mailbox and the number of a block; None if no mailbox has such a one of this kind."""
        if block is None:
            return None
        mailbox_id, number = _PAIR.unpack(block)
        is_plain = self._is_plain(mailbox_id)
        if not is_plain:
            mailbox_id, number = _PAIR.unpack(self._decrypt(block))
            # Another kind leaves a number below zero or beyond the limit.
            number -= kind * _LOCAL_LIMIT
        known = mailbox_id < _MAILBOX_LIMIT and 0 <= number < _LOCAL_LIMIT and self._is_plain(mailbox_id) == is_plain
        return (mailbox_id, number) if known else None


def _to_text(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _to_bytes(text: str, size: int) -> bytes | None:
    """Return the bytes that a text spells, if there are `size` of them. Each value has a single spelling."""
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == size and _to_text(found) == text else None
