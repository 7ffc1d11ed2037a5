"""Loading of a service's settings from the environment and `.env`, with one line per wrong variable."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, override

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from services.kit.tls.identity import ServiceIdentity


class SecretFiles(PydanticBaseSettingsSource):
    """The source of secrets in files: X_FILE names the file of X, as containers get them, without its final line break.

    Raises SettingsError for a file that cannot be read, and where both X and X_FILE are set.
    """

    def __init__(self, settings_type: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        super().__init__(settings_type)
        self._variables = variables

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        name = str(field.validation_alias or field_name)
        path = self._variables.get(f"{name}_file")
        if not path or SecretStr not in (field.annotation, *getattr(field.annotation, "__args__", ())):
            return None, name, False
        if self._variables.get(name):
            raise SettingsError(f"{name.upper()}: is set, and {name.upper()}_FILE too")
        try:
            return Path(path).read_text().removesuffix("\n"), name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name.upper()}_FILE: {path} cannot be read ({type(error).__name__})") from error

    @override
    def __call__(self) -> dict[str, Any]:
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {name: value for value, name, _ in found if value is not None}


class Settings(BaseSettings):
    """Base of the frozen settings type of each process. A blank variable counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file=".env", env_file_encoding="utf-8", populate_by_name=True
    )
    # Fields for which a blank value differs from an unset one.
    blank_matters: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != "" or name.lower() in cls.blank_matters}

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, files of secrets, the environment, `.env` (pydantic-settings)."""
        variables = {**DotEnvSettingsSource(settings_cls).env_vars, **EnvSettingsSource(settings_cls).env_vars}
        return init_settings, SecretFiles(settings_cls, variables), env_settings, dotenv_settings


class Postgres(BaseModel):
    """The address of a database, and the role that a service has there."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


def _known_level(value: str) -> str:
    if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return value.upper()


LogLevel = Annotated[str, AfterValidator(_known_level)]


class ProcessSettings(Settings):
    """The settings of every process: its log, its metrics and its end."""

    log_level: LogLevel = "INFO"
    # The release that runs, for metrics only.
    mailroom_version: str = "unknown"
    # Seconds after which a process whose event loop stands still writes where, and exits. 0: never, for debuggers.
    mailroom_hang_seconds: float = Field(0, ge=0)
    # Seconds for which a stopping process still takes requests, while it is not ready.
    drain_delay_seconds: float = Field(0, ge=0)


class TracedSettings(ProcessSettings):
    """The settings of every process that traces what it does."""

    # The collector of traces, by OTLP over gRPC. Unset: no traces.
    otel_exporter_otlp_endpoint: str | None = None


class ServiceSettings(TracedSettings):
    """The settings of every process that speaks gRPC. `service` is its name in its certificate."""

    service: ClassVar[str]

    # The certificate of this process (docs/service-identity.md), unless plaintext is allowed.
    mailroom_tls_cert: Path | None = None
    mailroom_tls_key: Path | None = None
    mailroom_tls_ca: Path | None = None
    mailroom_insecure_grpc: bool = False

    @property
    def identity(self) -> ServiceIdentity | None:
        """The identity of this process towards the others; None if plaintext is allowed."""
        cert, key, ca = self.mailroom_tls_cert, self.mailroom_tls_key, self.mailroom_tls_ca
        if self.mailroom_insecure_grpc or cert is None or key is None or ca is None:
            return None
        return ServiceIdentity(name=self.service, certificate=cert, key=key, ca=ca)

    @model_validator(mode="after")
    def _plaintext_is_a_decision(self) -> Self:
        if self.mailroom_insecure_grpc:
            return self
        missing = [name for name in ("tls_cert", "tls_key", "tls_ca") if getattr(self, f"mailroom_{name}") is None]
        if missing:
            raise ValueError(
                f"{', '.join(f'mailroom_{name}'.upper() for name in missing)}: must be set (docs/service-identity.md; "
                "`make run` does it), or MAILROOM_INSECURE_GRPC=true where the network between services is private"
            )
        if self.identity is not None:
            self.identity.read(now=datetime.now(UTC))
        return self


def comma_list(value: object) -> object:
    """Return the parts of a text with commas, for settings that are lists."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def variables_of(service: str) -> Callable[[str], str]:
    """Return an alias generator for subclasses of DatabaseSettings: `own_postgres_host` reads `auth_postgres_host`."""
    return lambda field: field.replace("own_", f"{service}_", 1) if field.startswith("own_") else field


class DatabaseSettings(Settings):
    """The settings by which a process enters its service's database: {SERVICE}_POSTGRES_..., else POSTGRES_... .

    A subclass names its service: `model_config = SettingsConfigDict(alias_generator=variables_of("auth"))`.
    """

    service: ClassVar[str]

    postgres_host: str = "127.0.0.1"
    postgres_port: int = 5432
    postgres_user: str = "postgres"
    postgres_password: SecretStr = SecretStr("")
    postgres_db: str = "mailroom"
    own_postgres_host: str | None = None
    own_postgres_port: int | None = None
    own_postgres_user: str | None = None
    own_postgres_password: SecretStr | None = None
    own_postgres_db: str | None = None

    @property
    def database(self) -> Postgres:
        """The service's database, entered as the role of the process."""
        return Postgres(
            host=self.own_postgres_host or self.postgres_host,
            port=self.own_postgres_port or self.postgres_port,
            user=self.own_postgres_user or self.postgres_user,
            password=self.own_postgres_password or self.postgres_password,
            database=self.own_postgres_db or f"{self.postgres_db}_{self.service}",
        )


class MigrationSettings(DatabaseSettings):
    """The settings of a service's migrations: those of its processes' roles, of the tables' owner, of an administrator.

    Without {SERVICE}_POSTGRES_OWNER the role of the processes owns the tables, and may do anything with them.
    """

    own_postgres_owner: str | None = None
    own_postgres_owner_password: SecretStr = SecretStr("")

    @property
    def owner(self) -> Postgres:
        """The service's database, entered as the role that owns it."""
        if self.own_postgres_owner is None:
            return self.database
        changed = {"user": self.own_postgres_owner, "password": self.own_postgres_owner_password}
        return self.database.model_copy(update=changed)

    @property
    def administrator(self) -> Postgres:
        """The role on the same server that may create the service's roles and database."""
        return Postgres(
            host=self.own_postgres_host or self.postgres_host,
            port=self.own_postgres_port or self.postgres_port,
            user=self.postgres_user,
            password=self.postgres_password,
            database="postgres",
        )


class RedisSettings(Settings):
    """The settings of Valkey or Redis. Without `redis_username` the password is the default user's."""

    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    redis_db: int = Field(0, ge=0)
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    # TLS with the certificate checked against the system's authorities, and those in `redis_ca` (PEM) if it is set.
    redis_tls: bool = False
    redis_ca: FilePath | None = None


def load[T: Settings](settings_type: type[T]) -> T:
    """Read the settings, or print the wrong variables (never their values) and exit with status 2."""
    try:
        return settings_type()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in problem["loc"]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"{name}: {message}\n" if name else f"{message}\n")
        sys.exit(2)
