"""Public ids: a mailbox and a local id in one opaque string. Ownership is checked where it is used, not here."""

import base64
import binascii
import struct

from msgspec import Struct

_FORM = struct.Struct(">QQ")


class PublicId(Struct, frozen=True, gc=False):
    """What a public id of a message or a sync stands for."""

    mailbox_id: int
    local_id: int

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(_FORM.pack(self.mailbox_id, self.local_id)).rstrip(b"=").decode()


def parse_id(public_id: str) -> PublicId | None:
    """The inverse of `str`; None for whatever is not such an id."""
    try:
        mailbox_id, local_id = _FORM.unpack(base64.b64decode(public_id + "==", altchars=b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError):
        return None
    # Postgres's bigint is signed; and one id has one spelling.
    found = PublicId(mailbox_id, local_id)
    return found if max(mailbox_id, local_id) < 2**63 and str(found) == public_id else None
