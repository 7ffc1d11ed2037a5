"""Settings from the environment, and the line that names a wrong one without its value."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from services.kit.settings import MigrationSettings, Settings, load, variables_of


class ExampleDatabase(MigrationSettings):
    """The database settings of that service."""

    service = "example"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class Example(Settings):
    """The settings of an invented service."""

    blank_matters: ClassVar[frozenset[str]] = frozenset({"example_batch_url"})

    example_port: int = 5
    example_secret: SecretStr = Field(min_length=8)
    example_batch_url: str | None = None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment with the required setting only, and an empty working directory."""
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


class TestSecretFiles:
    def test_are_read_for_secrets(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from a file\n")
        monkeypatch.delenv("EXAMPLE_SECRET")
        monkeypatch.setenv("EXAMPLE_SECRET_FILE", str(tmp_path / "secret"))
        assert load(Example).example_secret.get_secret_value() == "from a file"

    def test_may_be_named_in_dotenv(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from a file")
        (tmp_path / ".env").write_text("EXAMPLE_SECRET_FILE=secret\n")
        monkeypatch.delenv("EXAMPLE_SECRET")
        assert load(Example).example_secret.get_secret_value() == "from a file"

    def test_hold_the_passwords_of_databases(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("own\n")
        monkeypatch.setenv("POSTGRES_PASSWORD", "shared")
        monkeypatch.setenv("EXAMPLE_POSTGRES_PASSWORD_FILE", str(tmp_path / "password"))
        settings = load(ExampleDatabase)
        assert settings.database.password.get_secret_value() == "own"
        assert settings.administrator.password.get_secret_value() == "shared"

    def test_that_are_empty_count_as_unset(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("")
        monkeypatch.setenv("POSTGRES_PASSWORD", "shared")
        monkeypatch.setenv("EXAMPLE_POSTGRES_PASSWORD_FILE", str(tmp_path / "password"))
        assert load(ExampleDatabase).database.password.get_secret_value() == "shared"

    def test_are_for_secrets_only(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "port").write_text("7")
        monkeypatch.setenv("EXAMPLE_PORT_FILE", str(tmp_path / "port"))
        assert load(Example).example_port == 5

    def test_beside_the_variable_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EXAMPLE_SECRET_FILE", str(tmp_path / "secret"))
        with pytest.raises(SystemExit, match="2"):
            load(Example)
        assert capsys.readouterr().err == "EXAMPLE_SECRET: is set, and EXAMPLE_SECRET_FILE too\n"

    def test_that_are_missing_are_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("EXAMPLE_SECRET")
        monkeypatch.setenv("EXAMPLE_SECRET_FILE", str(tmp_path / "missing"))
        with pytest.raises(SystemExit, match="2"):
            load(Example)
        said = capsys.readouterr().err
        assert said == f"EXAMPLE_SECRET_FILE: {tmp_path}/missing cannot be read (FileNotFoundError)\n"
