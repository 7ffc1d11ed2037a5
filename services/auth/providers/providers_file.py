"""Providers that a file describes (PROVIDERS_FILE, TOML): OAuth 2.0 with userinfo, and IMAP.

A table names a provider, as `[mailru]` does for `/auth/mailru/start`. Auth checks all of it; its `imap` is mail's.
docs/any-imap.md has examples.
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from services.auth.providers.oauth_client import RegisteredClient
from services.auth.providers.oauth_responses import ErrorCodes
from services.auth.providers.urls import is_private_url, is_url
from services.auth.providers.userinfo_oauth import Dialect, Endpoints, Revocation, UserinfoFields

# A part of paths, of records and of metrics.
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,30}")
BUILT_IN: Final = frozenset({"google", "yandex"})

type Parameters = dict[str, str]
RedirectUri = Annotated[str, Field(min_length=1), AfterValidator(is_url)]
# An address of the provider.
Url = Annotated[str, Field(min_length=1), AfterValidator(is_private_url)]
# A field of userinfo: its name, or the keys that lead to it.
FieldPath = Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class UserinfoTable(_Table):
    """How userinfo is asked, and where it has the lasting id of the account and the address."""

    url: Url
    subject: FieldPath
    address: FieldPath
    # Set only where the provider says that it has verified the address.
    verified: FieldPath | None = None
    client_id: FieldPath | None = None
    scheme: str = "Bearer"
    # A query parameter instead of the header.
    parameter: str = ""


class ParametersTable(_Table):
    """Further parameters: always, where consent is asked for again, where the user chooses an account, at exchanges."""

    authorization: Parameters = {}
    consent: Parameters = {"prompt": "consent"}
    choice: Parameters = {}
    exchange: Parameters = {}


class RevocationTable(_Table):
    """How a grant is ended."""

    url: Url
    parameter: str = "token"
    takes: Literal["refresh", "access"] = "refresh"
    needless: list[str] = ["invalid_token"]


class ErrorsTable(_Table):
    """Error codes of the token endpoint besides those of RFC 6749."""

    grant: list[str] = []
    client: list[str] = []


class ImapTable(_Table):
    """Where and how mail is read."""

    host: str = Field(min_length=1)
    port: int = Field(993, ge=1, le=65535)
    mechanism: Literal["XOAUTH2", "OAUTHBEARER"] = "XOAUTH2"


class ProviderTable(_Table):
    """One provider."""

    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    client_secret_file: str | None = None
    client_authentication: Literal["form", "basic"] = "form"
    redirect_uri: RedirectUri | None = None
    authorization_url: Url
    token_url: Url
    scopes: list[str] = Field(min_length=1)
    # Each of them suffices to read mail.
    mail_scopes: list[str] = Field(min_length=1)
    # Days after which a grant is refreshed although its token lasts longer.
    refresh_days: int | None = Field(None, ge=1)
    userinfo: UserinfoTable
    parameters: ParametersTable = ParametersTable()
    revocation: RevocationTable | None = None
    errors: ErrorsTable = ErrorsTable()
    imap: ImapTable

    @model_validator(mode="after")
    def _has_one_secret(self) -> "ProviderTable":
        if (self.client_secret is None) is (self.client_secret_file is None):
            raise ValueError("needs client_secret or client_secret_file")
        if not set(self.mail_scopes) & set(self.scopes):
            raise ValueError("scopes must contain one of mail_scopes")
        return self

    @property
    def endpoints(self) -> Endpoints:
        """The addresses."""
        return Endpoints(
            authorization_url=self.authorization_url,
            token_url=self.token_url,
            userinfo_url=self.userinfo.url,
            revoke_url=None if self.revocation is None else self.revocation.url,
        )

    @property
    def dialect(self) -> Dialect:
        """The provider's dialect of OAuth 2.0."""
        userinfo, revocation = self.userinfo, self.revocation
        return Dialect(
            mail_scopes=frozenset(self.mail_scopes),
            fields=UserinfoFields(
                subject=_path(userinfo.subject),
                address=_path(userinfo.address),
                verified=_path(userinfo.verified),
                client_id=_path(userinfo.client_id),
            ),
            authorization=self.parameters.authorization,
            consent=self.parameters.consent,
            choice=self.parameters.choice,
            exchange=self.parameters.exchange,
            basic=self.client_authentication == "basic",
            userinfo_scheme=userinfo.scheme,
            userinfo_parameter=userinfo.parameter,
            revocation=Revocation()
            if revocation is None
            else Revocation(
                revocation.parameter,
                takes_access_token=revocation.takes == "access",
                needless=frozenset(revocation.needless),
            ),
            codes=ErrorCodes(grant=frozenset(self.errors.grant), client=frozenset(self.errors.client)),
            refresh_age=None if self.refresh_days is None else timedelta(days=self.refresh_days),
        )

    def client(self, *, callback: str) -> RegisteredClient:
        """Return our client, with `callback` as its redirect URI unless the table has another one."""
        secret = self.client_secret.get_secret_value() if self.client_secret else ""
        return RegisteredClient(self.client_id, secret, self.redirect_uri or callback, tuple(self.scopes))


def read_providers(path: Path) -> Mapping[str, ProviderTable]:
    """Return the providers of a file by name. Raises ValueError with a line that names a field, never its value."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__})") from error
    return {name: _table(name, content, folder=path.parent) for name, content in tables.items()}


def _table(name: str, content: object, *, folder: Path) -> ProviderTable:
    if not _NAME.fullmatch(name) or name in BUILT_IN:
        raise ValueError(f"{name[:40]!r} is no name for a provider: small letters, digits and hyphens, none of ours")
    try:
        table = ProviderTable.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in (name, *problem["loc"]))
        raise ValueError(f"{place}: {problem['msg'].removeprefix('Value error, ')}") from None
    return _with_secret(name, table, folder=folder)


def _with_secret(name: str, table: ProviderTable, *, folder: Path) -> ProviderTable:
    """Return the table with the secret of its file, whose path is relative to the folder of the providers' file."""
    if table.client_secret_file is None:
        return table
    try:
        secret = (folder / table.client_secret_file).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}.client_secret_file cannot be read ({type(error).__name__})") from error
    read: dict[str, Any] = {"client_secret": SecretStr(secret), "client_secret_file": None}
    return table.model_copy(update=read)


def _path(field: str | list[str] | None) -> tuple[str, ...]:
    if field is None:
        return ()
    return (field,) if isinstance(field, str) else tuple(field)
