"""The settings of the commands of auth, which load none of what the service needs besides."""

from pydantic import SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from services.kit.settings import DatabaseSettings, MigrationSettings, variables_of

MINIMUM_SECRET = 32


class AuthDatabaseSettings(DatabaseSettings):
    """AUTH_POSTGRES_..., and POSTGRES_... where those are unset."""

    service = "auth"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


class AuthMigrationSettings(MigrationSettings, AuthDatabaseSettings):
    """The settings of auth's migrations."""

    model_config = SettingsConfigDict(alias_generator=variables_of("auth"))


class AuthKeySettings(AuthDatabaseSettings):
    """The settings of the commands for operators."""

    secret_key: SecretStr
    secret_key_previous: SecretStr | None = None

    @field_validator("secret_key", "secret_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MINIMUM_SECRET:
            raise ValueError(f"needs at least {MINIMUM_SECRET} characters; make one with `openssl rand -base64 48`")
        return value
