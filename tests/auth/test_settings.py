"""Wrong settings stop the process with one line that names the variable and never its value."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from services.auth.command_settings import AuthDatabaseSettings, AuthMigrationSettings
from services.auth.providers.registry import build_providers
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress
from services.kit.settings import load
from services.kit.tls.authority import ensure_certificates, identity_in

GOOD = {
    "MAILROOM_INSECURE_GRPC": "true",
    "SECRET_KEY": "a secret key of the tests, long enough",
    "GOOGLE_CLIENT_ID": "client",
    "GOOGLE_CLIENT_SECRET": "secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An environment with the required settings only, and no `.env`."""
    for name in AuthSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path_factory.mktemp("settings"))


class TestLoad:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SECRET_KEY", "hunter2"),
            ("SECRET_KEY", ""),
            ("SECRET_KEY_PREVIOUS", "hunter2"),
            ("AUTH_ALLOWED_EMAILS", "hunter2"),
            ("AUTH_ALLOWED_DOMAINS", "example.org,hunter2@example.com"),
            ("AUTH_ALLOWED_DOMAINS", "*.hunter2.example"),
            ("AUTH_PORT", "70000"),
            ("POSTGRES_PORT", "five"),
            ("REDIS_DB", "-1"),
            ("LOG_LEVEL", "LOUD"),
            ("GOOGLE_CLIENT_ID", ""),
            ("GOOGLE_TOKEN_URL", "ftp://hunter2/token"),
            ("GOOGLE_JWKS_URL", "hunter2"),
            ("GOOGLE_REVOKE_URL", "https://us:hunter2@provider.example/revoke"),
            ("PUBLIC_URL", "https:///hunter2"),
            ("GOOGLE_SCOPES", "https://mail.google.com/"),
            ("YANDEX_SCOPES", "mail:imap_ro"),
            ("YANDEX_TOKEN_URL", "hunter2"),
            ("PROVIDERS_FILE", "hunter2"),
        ],
    )
    def test_names_the_wrong_variable_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as exit_:
            load(AuthSettings)
        [line] = capsys.readouterr().err.splitlines()
        assert exit_.value.code == 2
        assert line.startswith(f"{name}: ")
        assert "hunter2" not in line

    def test_needs_no_secrets_to_migrate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in GOOD:
            monkeypatch.delenv(name)
        assert load(AuthDatabaseSettings).database.database == "mailroom_auth"


class TestIdentity:
    """The certificate of the process."""

    def test_is_needed_unless_plaintext_is_allowed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("MAILROOM_INSECURE_GRPC")
        monkeypatch.setenv("MAILROOM_TLS_KEY", "somewhere")
        [line] = self._refusal(capsys)
        assert line.startswith("MAILROOM_TLS_CERT, MAILROOM_TLS_CA: must be set (docs/service-identity.md")
        assert "MAILROOM_INSECURE_GRPC=true" in line

    def test_is_checked_before_anything_is_opened(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        ensure_certificates(tmp_path, now=datetime.now(UTC))
        monkeypatch.delenv("MAILROOM_INSECURE_GRPC")
        for variable, file in (("CERT", "auth/tls.crt"), ("KEY", "mail/tls.key"), ("CA", "auth/ca.crt")):
            monkeypatch.setenv(f"MAILROOM_TLS_{variable}", str(tmp_path / file))
        [line] = self._refusal(capsys)
        assert line.startswith(f"MAILROOM_TLS_KEY: {tmp_path / 'mail/tls.key'} is not the key of")
        monkeypatch.setenv("MAILROOM_TLS_KEY", str(tmp_path / "auth/tls.key"))
        assert load(AuthSettings).identity == identity_in(tmp_path, "auth")

    def _refusal(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        with pytest.raises(SystemExit):
            load(AuthSettings)
        return capsys.readouterr().err.splitlines()


class TestDatabase:
    def test_is_named_after_the_shared_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_DB", "acme")
        settings = load(AuthMigrationSettings)
        assert (settings.database.database, settings.administrator.database) == ("acme_auth", "postgres")

    def test_is_the_services_own_where_it_is_overridden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("USER", "PASSWORD", "HOST"):
            monkeypatch.setenv(f"POSTGRES_{name}", "shared")
            monkeypatch.setenv(f"AUTH_POSTGRES_{name}", "own")
        monkeypatch.setenv("AUTH_POSTGRES_DB", "somewhere")
        settings = load(AuthMigrationSettings)
        database, administrator = settings.database, settings.administrator
        assert (database.host, database.user, database.database) == ("own", "own", "somewhere")
        assert (administrator.host, administrator.user) == ("own", "shared")
        assert database.password.get_secret_value() == "own"
        assert administrator.password.get_secret_value() == "shared"

    def test_is_owned_by_the_role_of_the_service_unless_another_one_is_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AUTH_POSTGRES_USER", "service")
        monkeypatch.setenv("AUTH_POSTGRES_PASSWORD", "p")
        settings = load(AuthMigrationSettings)
        assert settings.owner == settings.database
        monkeypatch.setenv("AUTH_POSTGRES_OWNER", "owner")
        monkeypatch.setenv("AUTH_POSTGRES_OWNER_PASSWORD", "o")
        settings = load(AuthMigrationSettings)
        assert (settings.database.user, settings.owner.user) == ("service", "owner")
        assert settings.owner.password.get_secret_value() == "o"
        assert settings.owner.database == settings.database.database


class TestProvider:
    def test_is_google_by_default(self) -> None:
        settings = load(AuthSettings)
        assert settings.google_issuer == "https://accounts.google.com"
        assert settings.google_jwks_url == "https://www.googleapis.com/oauth2/v3/certs"
        assert settings.redirect_uri == "http://localhost:8000/auth/google/callback"

    def test_elsewhere_has_only_the_endpoints_that_are_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOOGLE_TOKEN_URL", "https://provider.example/token")
        monkeypatch.setenv("GOOGLE_USERINFO_URL", "https://provider.example/userinfo")
        settings = load(AuthSettings)
        assert settings.google_userinfo_url == "https://provider.example/userinfo"
        assert settings.google_issuer is settings.google_jwks_url is settings.google_revoke_url is None

    def test_sends_the_browser_back_to_the_public_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PUBLIC_URL", "https://mail.example/")
        settings = load(AuthSettings)
        assert settings.issuer == "https://mail.example"
        assert settings.redirect_uri == "https://mail.example/auth/google/callback"


class TestSignInRedis:
    def test_is_the_other_one_unless_it_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_HOST", "redis.example")
        monkeypatch.setenv("REDIS_PASSWORD", "a password")
        settings = load(AuthSettings)
        assert settings.sign_in_redis == settings
        monkeypatch.setenv("AUTH_SIGN_IN_REDIS_HOST", "sign-ins.example")
        monkeypatch.setenv("AUTH_SIGN_IN_REDIS_DB", "0")
        monkeypatch.setenv("REDIS_DB", "3")
        monkeypatch.setenv("AUTH_SIGN_IN_REDIS_PASSWORD", "another")
        settings = load(AuthSettings)
        own = settings.sign_in_redis
        assert (own.redis_host, own.redis_port, own.redis_db) == ("sign-ins.example", 6379, 0)
        assert (settings.redis_host, settings.redis_db) == ("redis.example", 3)
        assert own.redis_password is not None
        assert own.redis_password.get_secret_value() == "another"


class TestGoogle:
    def test_without_a_client_leaves_its_place_to_another_provider(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("YANDEX_CLIENT_ID", "ours")
        monkeypatch.setenv("YANDEX_CLIENT_SECRET", "secret")
        settings, egress = load(AuthSettings), Egress(httpx.AsyncClient(), unavailable=TimeoutError)
        assert build_providers(settings, egress=egress, clock=lambda: datetime.now(UTC)).keys() == {"yandex"}

    def test_is_refused_without_a_secret(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("GOOGLE_CLIENT_SECRET", "")
        with pytest.raises(SystemExit):
            load(AuthSettings)
        assert capsys.readouterr().err.startswith("GOOGLE_CLIENT_SECRET: must be set")


class TestYandex:
    @pytest.fixture(autouse=True)
    def client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client of our own at Yandex."""
        monkeypatch.setenv("YANDEX_CLIENT_ID", "ours")
        monkeypatch.setenv("YANDEX_CLIENT_SECRET", "secret")

    def test_has_yandexs_addresses(self) -> None:
        settings = load(AuthSettings)
        assert settings.yandex_userinfo_url == "https://login.yandex.ru/info?format=json"
        assert settings.callback_of("yandex") == "http://localhost:8000/auth/yandex/callback"

    @pytest.mark.parametrize(
        ("variable", "value", "line"),
        [
            ("YANDEX_CLIENT_SECRET", "", "YANDEX_CLIENT_SECRET: must be set"),
            ("YANDEX_TOKEN_URL", "https://other.example/token", "YANDEX_USERINFO_URL: must be set"),
        ],
    )
    def test_is_refused_when_a_part_is_missing(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        variable: str,
        value: str,
        line: str,
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit):
            load(AuthSettings)
        assert capsys.readouterr().err.startswith(line)


# The host of each address is the name of its field.
_FILE = """
[other]
client_id = "us"
client_secret = "s"
authorization_url = "https://authorization_url/"
token_url = "https://token_url/"
scopes = ["mail"]
mail_scopes = ["mail"]
userinfo = {url = "https://userinfo.url/", subject = "id", address = "email"}
revocation = {url = "https://revocation.url/"}
imap = {host = "imap.other.example"}
"""


class TestProvidersFile:
    def test_that_is_wrong_stops_the_process_with_the_field(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "providers.toml"
        path.write_text('[other]\nclient_id = "hunter2"\n')
        monkeypatch.setenv("PROVIDERS_FILE", str(path))
        with pytest.raises(SystemExit):
            load(AuthSettings)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("PROVIDERS_FILE: other.authorization_url: Field required")

    @pytest.mark.parametrize("field", ["authorization_url", "token_url", "userinfo.url", "revocation.url"])
    def test_addresses_are_https_but_on_this_machine(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, field: str
    ) -> None:
        path = tmp_path / "providers.toml"
        monkeypatch.setenv("PROVIDERS_FILE", str(path))
        local = _FILE.replace(f"https://{field}/", "http://localhost:8100/")
        path.write_text(local)
        assert load(AuthSettings).file_providers.keys() == {"other"}
        path.write_text(local.replace("http://localhost:8100/", "http://hunter2.example/"))
        with pytest.raises(SystemExit):
            load(AuthSettings)
        assert capsys.readouterr().err == (
            f"PROVIDERS_FILE: other.{field}: must be an https URL: plain http is for this machine (localhost) only\n"
        )
