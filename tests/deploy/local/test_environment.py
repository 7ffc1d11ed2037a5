"""The environment of the processes: settings of the user win, others follow from ports and servers."""

import socket
from pathlib import Path

import pytest

from deploy.local.environment import (
    Settings,
    demo_settings,
    moved_ports,
    postgres_variables,
    read_settings,
    service_variables,
)
from deploy.local.errors import StackError
from deploy.local.ports import Ports
from deploy.local.postgres import PostgresAddress
from deploy.local.stack import whole_environment

_EMBEDDED = PostgresAddress(host="127.0.0.1", port=5433, user="postgres", password="generated")


def _secret(name: str) -> str:
    return f"generated {name} of sufficient length"


def _services(ports: Ports, **variables: str) -> dict[str, str]:
    return service_variables(Settings({"GATEWAY_PORT": "0", **variables}), ports, _secret)


class TestReadSettings:
    def test_the_environment_wins_over_the_file_and_blank_means_unset(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("PUBLIC_URL=http://file\nPOSTGRES_DB=file\nGOOGLE_CLIENT_ID=\nGMAIL_BATCH_URL=\n")
        settings = read_settings({"PUBLIC_URL": "http://environment"}, dotenv=dotenv)
        assert settings.variables == {
            "PUBLIC_URL": "http://environment",
            "POSTGRES_DB": "file",
            "GMAIL_BATCH_URL": "",  # the provider has no batch endpoint
        }

    def test_a_short_secret_key_is_refused_with_a_line_that_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"^SECRET_KEY has 5 characters and needs 32: .*token_urlsafe.*$"):
            read_settings({"SECRET_KEY": "short"}, dotenv=tmp_path / ".env")

    @pytest.mark.parametrize("value", ["x", "-1", "65536", "٣"])
    def test_a_port_that_is_no_number_is_refused_by_name(self, value: str, ports: Ports) -> None:
        with pytest.raises(StackError, match="GATEWAY_PORT must be a number"):
            _services(ports, GATEWAY_PORT=value)

    def test_a_switch_that_is_neither_on_nor_off_is_refused_by_name(self) -> None:
        with pytest.raises(StackError, match="MAILROOM_SANDBOX must be on or off"):
            _ = Settings({"MAILROOM_SANDBOX": "perhaps"}).sandbox


class TestSandbox:
    def test_without_a_google_client_the_sandbox_stands_in_for_every_provider_url(self, ports: Ports) -> None:
        variables = _services(ports)
        browser, server = (f"http://{host}:{variables['SANDBOX_PORT']}" for host in ("localhost", "127.0.0.1"))
        assert variables["GOOGLE_ISSUER"] == variables["SANDBOX_PUBLIC_URL"] == browser
        assert variables["GOOGLE_AUTH_URL"].startswith(f"{browser}/")
        assert variables["FRONTEND_REDIRECT_URL"] == f"{variables['CONSOLE_PUBLIC_URL']}/signed-in"
        assert variables["CONSOLE_SANDBOX_URL"] == server
        for name in ("TOKEN_URL", "USERINFO_URL", "JWKS_URL", "REVOKE_URL"):
            assert variables[f"GOOGLE_{name}"].startswith(f"{server}/")
        assert variables["GMAIL_API_URL"] == server
        assert variables["GMAIL_BATCH_URL"].startswith(f"{server}/batch")
        assert variables["GOOGLE_CLIENT_ID"] == variables["SANDBOX_CLIENT_ID"]
        assert variables["GOOGLE_CLIENT_SECRET"] == variables["SANDBOX_CLIENT_SECRET"]
        assert variables["GOOGLE_REDIRECT_URI"] == f"{variables['PUBLIC_URL']}/auth/google/callback"

    def test_stands_in_for_yandex_and_its_mail_server_too(self, ports: Ports) -> None:
        variables = _services(ports)
        browser, server = (f"http://{host}:{variables['SANDBOX_PORT']}" for host in ("localhost", "127.0.0.1"))
        assert variables["YANDEX_CLIENT_ID"] == variables["SANDBOX_CLIENT_ID"]
        assert variables["YANDEX_AUTH_URL"] == f"{browser}/yandex/authorize"
        for name in ("TOKEN_URL", "USERINFO_URL", "REVOKE_URL"):
            assert variables[f"YANDEX_{name}"].startswith(f"{server}/yandex/")
        assert variables["YANDEX_IMAP_PORT"] == variables["SANDBOX_IMAP_YANDEX_PORT"]
        # The worker trusts the authority that the sandbox writes down.
        assert variables["IMAP_CA_FILE"] == variables["SANDBOX_IMAP_CA_FILE"]

    def test_leaves_a_client_of_the_users_at_yandex_alone(self, ports: Ports) -> None:
        variables = _services(ports, YANDEX_CLIENT_ID="real", YANDEX_CLIENT_SECRET="secret")
        assert not [name for name in variables if name.startswith(("YANDEX_", "IMAP_"))]
        assert "GOOGLE_TOKEN_URL" in variables

    @pytest.mark.parametrize("chosen", [{"GOOGLE_CLIENT_ID": "real"}, {"MAILROOM_SANDBOX": "off"}])
    def test_a_real_client_or_the_switch_leaves_it_out(self, chosen: dict[str, str], ports: Ports) -> None:
        assert not Settings(chosen).sandbox
        variables = _services(ports, **chosen)
        assert (
            not {"SANDBOX_ENABLED", "GOOGLE_TOKEN_URL", "GMAIL_API_URL", "CONSOLE_SANDBOX_URL", "YANDEX_TOKEN_URL"}
            & variables.keys()
        )

    def test_a_stand_in_of_the_users_never_shares_tokens_with_the_sandbox(self, ports: Ports) -> None:
        variables = _services(ports, GMAIL_API_URL="http://localhost:1", GOOGLE_TOKEN_URL="http://localhost:2/token")
        assert variables["GMAIL_API_URL"] == "http://localhost:1"
        assert not {"GMAIL_BATCH_URL", "GOOGLE_JWKS_URL", "GOOGLE_USERINFO_URL", "GOOGLE_REVOKE_URL"} & variables.keys()

    def test_a_companion_that_the_user_set_too_stays(self, ports: Ports) -> None:
        chosen = {"GMAIL_API_URL": "http://localhost:1", "GMAIL_BATCH_URL": "http://localhost:1/batch"}
        assert _services(ports, **chosen).items() >= chosen.items()

    def test_settings_of_the_user_win(self, ports: Ports) -> None:
        chosen = {
            "PUBLIC_URL": "https://mail.example.com",
            "GOOGLE_JWKS_URL": "http://localhost:1/keys",
            "GMAIL_BATCH_URL": "",
            "FRONTEND_REDIRECT_URL": "http://localhost:3000/front",
            "SECRET_KEY": "s" * 32,
        }
        variables = _services(ports, **chosen)
        assert variables.items() >= chosen.items()
        assert variables["GOOGLE_REDIRECT_URI"] == "https://mail.example.com/auth/google/callback"


class TestPorts:
    def test_a_taken_default_moves_and_the_addresses_follow(self, ports: Ports) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            assert ports.movable(number) != number
        variables = _services(ports)
        assert variables["AUTH_ADDRESS"] == f"127.0.0.1:{variables['AUTH_PORT']}"
        assert variables["MAIL_ADDRESS"] == f"127.0.0.1:{variables['MAIL_PORT']}"

    def test_those_that_moved_are_told_with_their_usual_numbers(self, ports: Ports) -> None:
        settings = Settings({"GATEWAY_PORT": "0", "CONSOLE_PORT": "0"})
        variables = service_variables(settings, ports, _secret)
        usual = moved_ports(settings, variables | {"SANDBOX_PORT": "8100"})
        assert "SANDBOX_PORT" not in usual
        assert moved_ports(settings, variables | {"SANDBOX_PORT": "20001"})["SANDBOX_PORT"] == 8100
        assert not {"GATEWAY_PORT", "CONSOLE_PORT"} & usual.keys()

    def test_two_stacks_never_get_the_same_port_even_before_they_listen(self, ports: Ports) -> None:
        other = Ports()
        try:
            port = ports.free()
            assert other.movable(port) != port
        finally:
            other.release()

    @pytest.mark.parametrize("variable", ["GATEWAY_PORT", "AUTH_PORT"])
    def test_a_port_that_the_user_chose_does_not_move(self, variable: str, ports: Ports) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = str(taken.getsockname()[1])
            with pytest.raises(StackError, match=f"port {number} is taken .* set {variable}"):
                _services(ports, **{variable: number})


class TestServers:
    def test_on_the_embedded_server_each_process_and_each_owner_has_a_role_of_its_own(self) -> None:
        variables = postgres_variables(Settings({"POSTGRES_DB": "post", "POSTGRES_PASSWORD": "x"}), _EMBEDDED, _secret)
        assert variables["POSTGRES_DB"] == "post"
        assert variables["POSTGRES_PASSWORD"] == "generated"  # the server is ours, and so is its password
        for kind in ("_OWNER", "_USER", "PASSWORD"):
            values = [value for name, value in variables.items() if name.endswith(kind)]
            assert len(set(values)) == len(values) > 1

    def test_a_server_of_the_users_is_used_as_it_is(self) -> None:
        settings = Settings({"POSTGRES_HOST": "db", "POSTGRES_USER": "me", "POSTGRES_PASSWORD": "mine"})
        assert settings.postgres == PostgresAddress(host="db", port=5432, user="me", password="mine")
        assert postgres_variables(settings, settings.postgres, _secret) == {
            "POSTGRES_HOST": "db",
            "POSTGRES_PORT": "5432",
            "POSTGRES_USER": "me",
            "POSTGRES_PASSWORD": "mine",
            "POSTGRES_DB": "mailroom",
        }

    def test_a_redis_of_the_users_is_used_as_it_is(self) -> None:
        redis = Settings({"REDIS_HOST": "cache", "REDIS_PORT": "6380", "REDIS_DB": "3"}).redis
        assert redis
        assert redis.url == "redis://cache:6380/3"


class TestDemo:
    def test_neither_servers_nor_the_provider_of_the_user_are_touched(self, tmp_path: Path) -> None:
        environment = {
            "PATH": "/bin",
            "POSTGRES_HOST": "db",
            "REDIS_HOST": "r",
            "GOOGLE_CLIENT_ID": "g",
            "AUTH_PORT": "1",
        }
        settings = demo_settings(environment, tmp_path)
        assert settings.sandbox
        assert settings.postgres is None
        assert settings.redis is None
        child = whole_environment(settings, {"AUTH_PORT": "2"})
        assert child["PATH"] == "/bin"
        assert child["AUTH_PORT"] == "2"
        assert not {"POSTGRES_HOST", "REDIS_HOST", "GOOGLE_CLIENT_ID"} & child.keys()
        assert settings.directory == tmp_path  # where the services look for a `.env`


class TestWholeEnvironment:
    def test_variables_of_the_stack_win_over_the_users_and_these_over_inherited_ones(self) -> None:
        settings = Settings({"TZ": "Asia/Kathmandu", "AUTH_PORT": "0"}, inherited={"TZ": "UTC", "HOME": "/home/ada"})
        child = whole_environment(settings, {"AUTH_PORT": "50051"})
        assert child.items() >= {"TZ": "Asia/Kathmandu", "HOME": "/home/ada", "AUTH_PORT": "50051"}.items()
