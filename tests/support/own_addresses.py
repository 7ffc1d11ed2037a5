"""Addresses of made-up users. The mail that a sandbox makes up for a user follows from the address."""

import hashlib
import itertools
import os
from collections.abc import Collection


def own_address(taken: Collection[str]) -> str:
    """Return an address that is not taken, and follows from the current test alone, whatever ran before.

    So the mail of a test is the same in every run: none can lack what a test presumes by chance. The same holds for a
    benchmark, which is no test.
    """
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    name = f"user-{hashlib.sha256(test.encode()).hexdigest()[:8]}"
    addresses = (f"{name}-{number}@example.com" for number in itertools.count(1))
    return next(address for address in addresses if address not in taken)
