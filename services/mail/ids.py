"""Public ids and positions: opaque strings that name a mailbox and an object in it.

They prove nothing about the owner: the use case that gets one checks it.
"""

import base64
import binascii
import struct

from msgspec import Struct

_ID = struct.Struct(">QQ")
_POSITION = struct.Struct(">QQQ")
# Postgres's bigint is signed.
_LIMIT = 2**63


class PublicId(Struct, frozen=True, gc=False):
    """The public id of a message or of a sync."""

    mailbox_id: int
    local_id: int

    def __str__(self) -> str:
        return _encode(_ID.pack(self.mailbox_id, self.local_id))


class FeedPosition(Struct, frozen=True, gc=False):
    """A position in the change feed of a mailbox: a change's number in an incarnation of the feed."""

    mailbox_id: int
    incarnation: int
    seq: int

    def __str__(self) -> str:
        return _encode(_POSITION.pack(self.mailbox_id, self.incarnation, self.seq))


def parse_id(public_id: str) -> PublicId | None:
    """Parse the string of a PublicId; None if it is malformed."""
    numbers = _decode(public_id, _ID)
    return None if numbers is None else PublicId(*numbers)


def parse_position(position: str) -> FeedPosition | None:
    """Parse the string of a FeedPosition; None if it is malformed.

    Positions from before feeds had incarnations belong to incarnation 0.
    """
    numbers = _decode(position, _POSITION)
    if numbers is not None:
        return FeedPosition(*numbers)
    older = parse_id(position)
    return None if older is None else FeedPosition(older.mailbox_id, 0, older.local_id)


def _encode(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _decode(text: str, form: struct.Struct) -> tuple[int, ...] | None:
    try:
        numbers = form.unpack(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError):
        return None
    # Each value has a single spelling.
    return numbers if max(numbers) < _LIMIT and _encode(form.pack(*numbers)) == text else None
