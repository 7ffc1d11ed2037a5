"""Settings come from the environment, and a wrong one is named in one line without its value."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from services.kit.settings import DatabaseSettings, Settings, load, variables_of


class ExampleDatabase(DatabaseSettings):
    """Where the database of that service is."""

    service = "example"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class Example(Settings):
    """Settings of a service that does not exist."""

    blank_matters: ClassVar[frozenset[str]] = frozenset({"example_batch_url"})

    example_port: int = 5
    example_secret: SecretStr = Field(min_length=8)
    example_batch_url: str | None = None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the required setting, and an empty working directory."""
    monkeypatch.setenv("EXAMPLE_SECRET", "long enough")
    monkeypatch.chdir(tmp_path)


class TestLoad:
    def test_reads_the_environment_before_the_file_before_the_defaults(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_text("EXAMPLE_PORT=6\nEXAMPLE_SECRET=from the file\nUNRELATED=1\n")
        monkeypatch.setenv("EXAMPLE_SECRET", "from the environment")
        settings = load(Example)
        assert settings.example_port == 6
        assert settings.example_secret.get_secret_value() == "from the environment"

    def test_takes_a_blank_variable_for_an_unset_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXAMPLE_PORT", "")
        assert load(Example).example_port == 5

    def test_keeps_a_blank_that_matters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert load(Example).example_batch_url is None
        monkeypatch.setenv("EXAMPLE_BATCH_URL", "")
        assert load(Example).example_batch_url == ""

    def test_reads_the_services_own_variable_before_the_shared_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_HOST", "shared")
        assert load(ExampleDatabase).database.host == "shared"
        monkeypatch.setenv("EXAMPLE_POSTGRES_HOST", "own")
        assert load(ExampleDatabase).database.host == "own"

    def test_names_each_wrong_variable_in_a_line_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EXAMPLE_PORT", "hunter2")
        monkeypatch.setenv("EXAMPLE_SECRET", "hunter")
        with pytest.raises(SystemExit) as exit_:
            load(Example)
        port, secret = capsys.readouterr().err.splitlines()
        assert exit_.value.code == 2
        assert port.startswith("EXAMPLE_PORT: ")
        assert secret.startswith("EXAMPLE_SECRET: ")
        assert "hunter" not in port + secret

    def test_names_a_missing_variable(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("EXAMPLE_SECRET")
        with pytest.raises(SystemExit):
            load(Example)
        assert capsys.readouterr().err == "EXAMPLE_SECRET: Field required\n"

    def test_cannot_be_changed_afterwards(self) -> None:
        settings = load(Example)
        with pytest.raises(ValidationError):
            settings.example_port = 7

    def test_shows_no_secret_when_printed(self) -> None:
        assert "long enough" not in repr(load(Example))
