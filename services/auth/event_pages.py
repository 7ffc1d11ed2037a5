"""Pages of lists of events. Their tokens are encrypted, for their owners only: the ids of events count those of all."""

import base64
from uuid import UUID

from services.auth.cipher import Cipher, DecryptionError
from services.auth.errors import invalid_page_token
from services.kit.errors import AppError, Kind

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
_FIELD = "event page token"


def page_limit(page_size: int) -> int:
    """Return the most events of a page; 0 stands for the default. Raises AppError invalid_page_size."""
    if not 0 <= page_size <= LARGEST_PAGE:
        raise AppError(Kind.INVALID, "invalid_page_size", f"The page size must be from 1 to {LARGEST_PAGE}.")
    return page_size or DEFAULT_PAGE


def write_token(cipher: Cipher, position: str, *, owner: UUID) -> str:
    """Return the token of the page that begins after a position."""
    encrypted = cipher.encrypt(position, owner=str(owner), field=_FIELD)
    return base64.urlsafe_b64encode(encrypted).decode().rstrip("=")


def read_token(cipher: Cipher, token: str, *, owner: UUID) -> str:
    """Return the position in a token. Raises AppError invalid_page_token for one of another owner's lists."""
    try:
        encrypted = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return cipher.decrypt(encrypted, owner=str(owner), field=_FIELD)
    except (ValueError, DecryptionError):
        raise invalid_page_token() from None
