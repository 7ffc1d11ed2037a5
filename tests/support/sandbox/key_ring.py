"""Signing keys that all sandboxes of a test run share: to make them takes longer than most of what is tested."""

import itertools
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.sandbox.google.oauth.signing_keys import new_private_key

# More than one sandbox makes in any test, so that none meets a key again.
_KEYS = 12
_numbers = itertools.cycle(range(_KEYS))


def next_key() -> RSAPrivateKey:
    """A key that this sandbox has not had yet, though another may have."""
    return _key(next(_numbers))


@cache
def _key(_number: int) -> RSAPrivateKey:
    return new_private_key()
