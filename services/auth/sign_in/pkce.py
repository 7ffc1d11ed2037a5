"""PKCE between the client and us (RFC 7636, S256): optional proof that a client redeems the sign-in that it started."""

import base64
import hashlib
import hmac
import re

from services.kit.errors import AppError, Kind

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def s256(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def check_challenge(challenge: str, *, required: bool) -> None:
    """Check a challenge, empty if absent. Raises AppError `client_proof_required` or `invalid_code_challenge`."""
    if not challenge and required:
        raise AppError(Kind.INVALID, "client_proof_required", "A code_challenge is required to start a sign-in here.")
    if challenge and not _CHALLENGE.fullmatch(challenge):
        raise AppError(
            Kind.INVALID,
            "invalid_code_challenge",
            "code_challenge must be the S256 challenge of RFC 7636, 43 characters.",
        )


def check_verifier(verifier: str, *, challenge: str, required: bool) -> None:
    """Check a verifier, empty if absent. Raises AppError `invalid_code_verifier`.

    A verifier without a challenge is refused too: an attacker may have removed the challenge (RFC 9700, section 2.1.1).
    """
    proven = bool(_VERIFIER.fullmatch(verifier)) and hmac.compare_digest(s256(verifier), challenge)
    absent = not verifier and not challenge and not required
    if not (proven or absent):
        raise AppError(
            Kind.INVALID, "invalid_code_verifier", "code_verifier does not prove who started this sign-in; start again."
        )
