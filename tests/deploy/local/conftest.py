"""What the tests of the embedded stack share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import placement


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty MAILROOM_HOME in a place that root's helper user can enter; pytest's own directories are not."""
    with tempfile.TemporaryDirectory(prefix="mailroom-home-") as directory:
        path = Path(directory)
        path.chmod(0o711)
        yield path
        placement.remove(path)
