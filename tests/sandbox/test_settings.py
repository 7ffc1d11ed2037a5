"""Settings of the sandbox."""

import pytest

from services.kit.settings import load
from services.sandbox.settings import Settings


def test_the_level_of_the_log_is_written_as_for_the_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_ENABLED", "true")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert load(Settings).log_level == "DEBUG"
