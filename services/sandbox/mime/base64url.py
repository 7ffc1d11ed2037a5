"""Base64 with the URL-safe alphabet (RFC 4648 section 5)."""

from base64 import b64decode


def decode_base64url(text: str) -> bytes:
    """Decode text with or without padding. Raises ValueError for other characters or a wrong length."""
    bare = text.rstrip("=")
    return b64decode(bare + "=" * (-len(bare) % 4), altchars="-_", validate=True)
