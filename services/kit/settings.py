"""Loading a service's settings from the environment and `.env`, with one line per wrong variable."""

import sys
from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel, ConfigDict, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Base of the one frozen settings type that each process has. A blank variable counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file=".env", env_file_encoding="utf-8", populate_by_name=True
    )
    # Fields for which a blank value differs from an unset one.
    blank_matters: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != "" or name.lower() in cls.blank_matters}


class Postgres(BaseModel):
    """Where a service's database is and who it is there."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


def overridable(service: str, name: str) -> AliasChoices:
    """Reads `{SERVICE}_{NAME}` and, where that is unset, the variable `{NAME}` that all services share."""
    return AliasChoices(f"{service}_{name}", name)


def load[T: Settings](settings_type: type[T]) -> T:
    """Reads the settings, or prints what is wrong (never a value) and exits with status 2."""
    try:
        return settings_type()
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in problem["loc"]).upper() or settings_type.__name__
            sys.stderr.write(f"{name}: {problem['msg']}\n")
        sys.exit(2)
