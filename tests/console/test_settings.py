"""The settings of the console."""

import pytest

from services.console.settings import ConsoleSettings
from services.kit.settings import load


def test_take_a_log_level_as_all_processes_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert load(ConsoleSettings).log_level == "DEBUG"
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SystemExit):
        load(ConsoleSettings)
    assert capsys.readouterr().err == "LOG_LEVEL: must be DEBUG, INFO, WARNING, ERROR or CRITICAL\n"
