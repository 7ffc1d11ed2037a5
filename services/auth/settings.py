"""The settings of the auth service."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.auth.sign_up import SignUpPolicy
from services.kit.settings import DatabaseSettings, RedisSettings, ServiceSettings, variables_of

GOOGLE_ISSUER = "https://accounts.google.com"
MINIMUM_SECRET = 32

# Source: Google's OpenID Connect discovery document.
_GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE = {
    "google_issuer": GOOGLE_ISSUER,
    "google_userinfo_url": "https://openidconnect.googleapis.com/v1/userinfo",
    "google_jwks_url": "https://www.googleapis.com/oauth2/v3/certs",
    "google_revoke_url": "https://oauth2.googleapis.com/revoke",
}


class AuthDatabaseSettings(DatabaseSettings):
    """AUTH_POSTGRES_..., and POSTGRES_... where those are unset."""

    service = "auth"
    model_config = SettingsConfigDict(alias_generator=variables_of(service))


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


class AuthSettings(AuthKeySettings, RedisSettings, ServiceSettings):
    """The settings of the running service."""

    auth_host: str = "127.0.0.1"
    auth_port: int = Field(50051, ge=0, le=65535)
    auth_admin_host: str = "127.0.0.1"
    auth_admin_port: int = Field(9101, ge=0, le=65535)
    auth_postgres_pool: int = Field(10, ge=1)

    gateway_port: int = 8000
    public_url: str = ""
    auth_require_client_proof: bool = False
    auth_allowed_emails: str = ""
    auth_allowed_domains: str = ""
    auth_session_idle_seconds: int = Field(14 * 86400, ge=60)
    auth_session_seconds: int = Field(90 * 86400, ge=60)
    auth_signing_key_days: int = Field(30, ge=1)
    auth_event_days: int = Field(365, ge=1)

    # The server of sign-ins under way; what is unset is as in REDIS_...
    auth_sign_in_redis_host: str | None = None
    auth_sign_in_redis_port: int | None = None
    auth_sign_in_redis_db: int | None = Field(None, ge=0)
    auth_sign_in_redis_username: str | None = None
    auth_sign_in_redis_password: SecretStr | None = None

    google_client_id: str
    google_client_secret: SecretStr
    google_redirect_uri: str = ""
    google_scopes: str = "openid email profile https://www.googleapis.com/auth/gmail.readonly"
    google_auth_url: str = "https://accounts.google.com/o/oauth2/v2/auth"
    google_token_url: str = _GOOGLE_TOKEN_URL
    # Unset means Google's if the token URL is Google's, and none otherwise: another provider's tokens must not be sent
    # to Google, nor its ID tokens be checked with Google's issuer and keys.
    google_issuer: str | None = None
    google_userinfo_url: str | None = None
    google_jwks_url: str | None = None
    google_revoke_url: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _google_unless_replaced(cls, values: dict[str, object]) -> dict[str, object]:
        given = {name: value for name, value in values.items() if value not in ("", None)}
        if given.get("google_token_url", _GOOGLE_TOKEN_URL) == _GOOGLE_TOKEN_URL:
            return {**_GOOGLE, **given}
        return given

    @field_validator(
        "public_url",
        "google_redirect_uri",
        "google_auth_url",
        "google_token_url",
        "google_userinfo_url",
        "google_jwks_url",
        "google_revoke_url",
    )
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value:
            parts = urlsplit(value)
            # Hosts are logged at start.
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or "@" in parts.netloc:
                raise ValueError("must be an http(s) URL without a user, a password or a fragment")
        return value

    @field_validator("google_scopes")
    @classmethod
    def _identifies(cls, value: str) -> str:
        if not {"openid", "email"} <= set(value.split()):
            raise ValueError("must contain openid and email, which tell who signed in")
        return value

    @field_validator("auth_allowed_emails")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        SignUpPolicy.of(emails=value, domains="")
        return value

    @field_validator("auth_allowed_domains")
    @classmethod
    def _are_domains(cls, value: str) -> str:
        SignUpPolicy.of(emails="", domains=value)
        return value

    @property
    def sign_in_redis(self) -> RedisSettings:
        """The settings of the server that holds sign-ins under way."""
        names = ("redis_host", "redis_port", "redis_db", "redis_username", "redis_password")
        own = {name: getattr(self, f"auth_sign_in_{name}") for name in names}
        return self.model_copy(update={name: value for name, value in own.items() if value is not None})

    @property
    def sign_ups(self) -> SignUpPolicy:
        """Who may sign up."""
        return SignUpPolicy.of(emails=self.auth_allowed_emails, domains=self.auth_allowed_domains)

    @property
    def issuer(self) -> str:
        """Issuer and audience of our access tokens: the public address."""
        return (self.public_url or f"http://localhost:{self.gateway_port}").rstrip("/")

    @property
    def redirect_uri(self) -> str:
        """The address to which Google redirects the browser, registered with Google byte for byte."""
        return self.google_redirect_uri or f"{self.issuer}/auth/google/callback"
