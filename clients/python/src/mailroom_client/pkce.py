"""Proof that the client which redeems a sign-in is the one that began it (RFC 7636)."""

import hashlib
import secrets
from base64 import urlsafe_b64encode


def new_verifier() -> str:
    """Return a new verifier: keep it until the browser comes back."""
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (section 4.2), for the start of the sign-in."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
