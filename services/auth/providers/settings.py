"""The settings of the providers: for each its client, and every address."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, FilePath, SecretStr, field_validator, model_validator

from services.auth.providers.providers_file import ProviderTable, read_providers
from services.auth.providers.urls import is_url
from services.kit.settings import Settings

GOOGLE_ISSUER = "https://accounts.google.com"

# Source: Google's OpenID Connect discovery document.
_GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE = {
    "google_issuer": GOOGLE_ISSUER,
    "google_userinfo_url": "https://openidconnect.googleapis.com/v1/userinfo",
    "google_jwks_url": "https://www.googleapis.com/oauth2/v3/certs",
    "google_revoke_url": "https://oauth2.googleapis.com/revoke",
}
# Source: yandex.com/dev/id.
_YANDEX_TOKEN_URL = "https://oauth.yandex.ru/token"  # noqa: S105 - an address
_YANDEX = {
    "yandex_userinfo_url": "https://login.yandex.ru/info?format=json",
    "yandex_revoke_url": "https://oauth.yandex.ru/revoke_token",
}


Url = Annotated[str, AfterValidator(is_url)]
OptionalUrl = Annotated[str | None, AfterValidator(is_url)]


class PublicSettings(Settings):
    """The public address."""

    gateway_port: int = 8000
    public_url: Url = ""

    @property
    def issuer(self) -> str:
        """Issuer and audience of our access tokens: the public address."""
        return (self.public_url or f"http://localhost:{self.gateway_port}").rstrip("/")

    def callback_of(self, provider: str) -> str:
        """Return the address to which the provider redirects the browser."""
        return f"{self.issuer}/auth/{provider}/callback"


class GoogleSettings(PublicSettings):
    """GOOGLE_...: without a client the provider does not exist."""

    google_client_id: str = ""
    google_client_secret: SecretStr | None = None
    google_redirect_uri: Url = ""
    google_scopes: str = "openid email profile https://www.googleapis.com/auth/gmail.readonly"
    google_auth_url: Url = "https://accounts.google.com/o/oauth2/v2/auth"
    google_token_url: Url = _GOOGLE_TOKEN_URL
    # Unset means Google's if the token URL is Google's, and none otherwise: another provider's tokens must not be sent
    # to Google, nor its ID tokens be checked with Google's issuer and keys.
    google_issuer: str | None = None
    google_userinfo_url: OptionalUrl = None
    google_jwks_url: OptionalUrl = None
    google_revoke_url: OptionalUrl = None

    @model_validator(mode="before")
    @classmethod
    def _google_unless_replaced(cls, values: dict[str, object]) -> dict[str, object]:
        return _defaults(values, _GOOGLE, unless_replaced=("google_token_url", _GOOGLE_TOKEN_URL))

    @field_validator("google_scopes")
    @classmethod
    def _identifies(cls, value: str) -> str:
        if not {"openid", "email"} <= set(value.split()):
            raise ValueError("must contain openid and email, which tell who signed in")
        return value

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if self.google_client_id and not self.google_client_secret:
            raise ValueError("GOOGLE_CLIENT_SECRET: must be set, since GOOGLE_CLIENT_ID is")
        return self

    @property
    def redirect_uri(self) -> str:
        """The address to which Google redirects the browser, registered with Google byte for byte."""
        return self.google_redirect_uri or self.callback_of("google")


class YandexSettings(PublicSettings):
    """YANDEX_...: without a client the provider does not exist."""

    yandex_client_id: str = ""
    yandex_client_secret: SecretStr | None = None
    yandex_redirect_uri: Url = ""
    yandex_scopes: str = "login:email mail:imap_ro"
    yandex_auth_url: Url = "https://oauth.yandex.ru/authorize"
    yandex_token_url: Url = _YANDEX_TOKEN_URL
    # Unset means Yandex's if the token URL is Yandex's. Userinfo is needed, since it tells who signed in.
    yandex_userinfo_url: OptionalUrl = None
    yandex_revoke_url: OptionalUrl = None

    @model_validator(mode="before")
    @classmethod
    def _yandex_unless_replaced(cls, values: dict[str, object]) -> dict[str, object]:
        return _defaults(values, _YANDEX, unless_replaced=("yandex_token_url", _YANDEX_TOKEN_URL))

    @field_validator("yandex_scopes")
    @classmethod
    def _names_the_address(cls, value: str) -> str:
        if "login:email" not in value.split():
            raise ValueError("must contain login:email, which tells the address")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.yandex_client_id and not self.yandex_client_secret:
            raise ValueError("YANDEX_CLIENT_SECRET: must be set, since YANDEX_CLIENT_ID is")
        if self.yandex_client_id and not self.yandex_userinfo_url:
            raise ValueError("YANDEX_USERINFO_URL: must be set, since YANDEX_TOKEN_URL is not Yandex's")
        return self


class FileSettings(PublicSettings):
    """PROVIDERS_FILE: further providers."""

    providers_file: FilePath | None = None

    @field_validator("providers_file")
    @classmethod
    def _is_readable(cls, value: FilePath | None) -> FilePath | None:
        if value is not None:
            read_providers(value)
        return value

    @property
    def file_providers(self) -> Mapping[str, ProviderTable]:
        """The providers of the file by name."""
        return {} if self.providers_file is None else read_providers(self.providers_file)


class ProviderSettings(GoogleSettings, YandexSettings, FileSettings):
    """The settings of all providers."""

    @model_validator(mode="after")
    def _has_a_provider(self) -> Self:
        if not (self.google_client_id or self.yandex_client_id or self.file_providers):
            raise ValueError("GOOGLE_CLIENT_ID: must be set, or YANDEX_CLIENT_ID, or PROVIDERS_FILE with a provider")
        return self


def _defaults(
    values: dict[str, object], addresses: dict[str, str], *, unless_replaced: tuple[str, str]
) -> dict[str, object]:
    """Return the values that are not blank, over the provider's addresses if its token URL is not replaced."""
    token_url, usual = unless_replaced
    given = {name: value for name, value in values.items() if value not in ("", None)}
    return {**addresses, **given} if given.get(token_url, usual) == usual else given
