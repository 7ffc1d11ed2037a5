"""Fixtures of the embedded stack's tests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import placement


@contextmanager
def mailroom_home() -> Iterator[Path]:
    """An empty directory that root's helper user can enter, unlike pytest's own directories."""
    with tempfile.TemporaryDirectory(prefix="mailroom-home-") as directory:
        path = Path(directory)
        path.chmod(0o711)
        yield path
        placement.remove(path)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for MAILROOM_HOME, removed at the end."""
    with mailroom_home() as path:
        yield path
