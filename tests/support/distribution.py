"""Distribution of a parallel run (`pytest -n 4`): tests that stay in one process, and tests that begin first."""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

# Tests below one of these share a stack, or a copy of the tree. With pytest 9.2 xdist finds none of its own groups (its
# issue 1386).
_STACKS = (
    *("tests/e2e/test_lifecycle.py", "tests/e2e/test_backup.py", "tests/e2e/"),
    *("tests/deploy/local/test_makemigrations.py", "tests/docs/test_extend.py"),
)
# Long tests begin first, so that no process runs one at the end while the others idle.
_FIRST = (
    "tests/e2e/",
    "tests/soak/",
    "tests/deploy/local/",
    "tests/docs/test_extend.py",
    "tests/peers/test_rendering.py",
)


class SharedStacks(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Assigns tests that share a stack to one process, the largest stack first, and all others to the next free one."""

    def _split_scope(self, nodeid: str) -> str:
        return _first_of(_STACKS, nodeid) or nodeid


def needs_stack(item: pytest.Item) -> bool:
    """Return whether a test is one of those that begin first: it starts a stack, or copies the tree."""
    return _first_of(_FIRST, item.nodeid) is not None


def turn(item: pytest.Item) -> int:
    """Return the sort key of a test."""
    found = _first_of(_FIRST, item.nodeid)
    return len(_FIRST) if found is None else _FIRST.index(found)


def _first_of(beginnings: Sequence[str], nodeid: str) -> str | None:
    return next((beginning for beginning in beginnings if nodeid.startswith(beginning)), None)
