"""PKCE on the side of the server (RFC 7636)."""

import base64
import hashlib
import hmac
import re

WELL_FORMED = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def proves(verifier: str, *, challenge: str, method: str) -> bool:
    """Return whether the verifier belongs to the challenge; `method` is `S256` or `plain`."""
    given = verifier
    if method == "S256":
        digest = hashlib.sha256(verifier.encode()).digest()
        given = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(given.encode(), challenge.encode())
