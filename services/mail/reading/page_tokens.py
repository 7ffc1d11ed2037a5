"""Keyset positions as opaque page tokens. A token is bound to its list."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from services.kit.errors import AppError, Kind
from services.mail.read_model import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_read = msgspec.json.Decoder(tuple[int, int, str]).decode


def encode(position: Position, *, scope: Mapping[str, object]) -> str:
    """Return a token for the entries after `position` in the list that `scope` (mailbox and filters) describes."""
    fields = [(position.received_at - _EPOCH) // _MICROSECOND, position.message_id, _fingerprint(scope)]
    return base64.urlsafe_b64encode(msgspec.json.encode(fields)).rstrip(b"=").decode()


def decode(token: str, *, scope: Mapping[str, object]) -> Position | None:
    """Return the position in a token; None for the empty token. Raises AppError invalid_page_token."""
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        microseconds, message_id, fingerprint = _read(base64.b64decode(padded, altchars=b"-_", validate=True))
        position = Position(received_at=_EPOCH + microseconds * _MICROSECOND, message_id=message_id)
    except (ValueError, OverflowError):
        raise _invalid() from None
    if fingerprint != _fingerprint(scope) or not 0 <= position.message_id < 2**63:
        raise _invalid()
    return position


def _fingerprint(scope: Mapping[str, object]) -> str:
    return hashlib.sha256(msgspec.json.encode(scope, order="sorted")).hexdigest()[:16]


def _invalid() -> AppError:
    return AppError(Kind.INVALID, "invalid_page_token", "This cursor is not valid for this list; start without one.")
