"""Signing keys that all sandboxes of a test run share: generating them takes longer than most tests."""

import itertools
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.sandbox.google.oauth.signing_keys import new_private_key

# More than one sandbox generates in any test, so that none gets a key twice.
_KEYS = 12
_numbers = itertools.cycle(range(_KEYS))


def next_key() -> RSAPrivateKey:
    """Return a key that this sandbox has not had yet, though another one may have."""
    return _key(next(_numbers))


@cache
def _key(_number: int) -> RSAPrivateKey:
    return new_private_key()
