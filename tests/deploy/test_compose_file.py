"""Configurations that the compose files make of the user's variables; needs `docker compose`, but no engine."""

import json
import os
import re
import subprocess
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from services.console.settings import ConsoleSettings
from services.gateway.settings import GatewaySettings

ROOT = Path(__file__).parents[2]
REAL = {"GOOGLE_CLIENT_ID": "mine.apps.googleusercontent.com", "GOOGLE_CLIENT_SECRET": "my-secret"}
PROVIDER = ("GOOGLE_AUTH", "GOOGLE_TOKEN", "GOOGLE_ISSUER", "GOOGLE_USERINFO", "GOOGLE_JWKS", "GOOGLE_REVOKE", "GMAIL_")


def _compose() -> list[str]:
    """Return the compose v2 command: the plugin, or the separate program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([*command, "version"], check=True, capture_output=True)
            return command
    pytest.skip("`docker compose` is not installed")


def _services(file: str = "docker-compose.yml", **variables: str) -> dict[str, Any]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    command = [*_compose(), "--env-file", os.devnull, "--file", file, "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    for service in services.values():
        service.setdefault("environment", {})
    return services


def _production(directory: Path, **variables: str) -> dict[str, Any]:
    (directory / "settings.env").touch()
    chosen = {"PUBLIC_URL": "https://mail.example.com", "FRONTEND_REDIRECT_URL": "https://app.example.com/"} | variables
    return _services("deploy/compose.production.yml", MAILROOM_PRODUCTION=str(directory), **chosen)


def _provider_urls(service: dict[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in service["environment"].items()
        if name.startswith(PROVIDER) and value is not None and name.endswith(("URL", "ISSUER"))
    }


def services_of_yandex(services: dict[str, Any]) -> dict[str, str]:
    """Return the variables of Yandex and of mail servers that auth gets."""
    environment = services["auth"]["environment"].items()
    return {name: value for name, value in environment if value and name.startswith(("YANDEX_", "IMAP_"))}


def test_without_variables_browsers_and_services_reach_the_sandbox_as_one_issuer() -> None:
    services = _services()
    urls = _provider_urls(services["auth"])
    browser = services["sandbox"]["environment"]["SANDBOX_PUBLIC_URL"]
    assert urls.pop("GOOGLE_ISSUER") == browser == "http://localhost:8100"
    assert urls.pop("GOOGLE_AUTH_URL").startswith(f"{browser}/")
    assert len(urls) == 6
    assert all(url.startswith("http://sandbox:8100") for url in urls.values())
    for name in ("mail", "worker"):
        assert services[name]["environment"]["GMAIL_API_URL"] == "http://sandbox:8100"


def test_without_variables_yandex_is_the_sandbox_too_and_its_authority_is_where_mail_reads_it() -> None:
    services = _services()
    assert services["auth"]["environment"]["YANDEX_TOKEN_URL"] == "http://sandbox:8100/yandex/token"
    sandbox = services["sandbox"]
    [authority] = [volume for volume in sandbox["volumes"] if volume["source"] == "sandbox-authority"]
    assert sandbox["environment"]["SANDBOX_IMAP_CA_FILE"].startswith(f"{authority['target']}/")
    for name in ("mail", "worker"):
        environment = services[name]["environment"]
        assert (environment["YANDEX_IMAP_HOST"], environment["YANDEX_IMAP_PORT"]) == ("sandbox", "8993")
        assert environment["IMAP_CA_FILE"] == sandbox["environment"]["SANDBOX_IMAP_CA_FILE"]
        mounted = {volume["source"]: volume for volume in services[name]["volumes"]}
        assert mounted["sandbox-authority"]["target"] == authority["target"]
        assert mounted["sandbox-authority"]["read_only"]


def test_with_a_google_client_yandex_is_the_users_or_none() -> None:
    assert services_of_yandex(_services(**REAL)) == {}
    chosen = {
        "YANDEX_CLIENT_ID": "mine",
        "YANDEX_CLIENT_SECRET": "secret",
        "YANDEX_AUTH_URL": "https://oauth.yandex.com/authorize",
    }
    assert services_of_yandex(_services(**REAL, **chosen)) == chosen


def test_with_a_google_client_the_sandbox_is_gone_and_urls_are_googles_own() -> None:
    services = _services(**REAL)
    assert "sandbox" not in services
    assert services["auth"]["environment"].items() >= REAL.items()
    assert not any(_provider_urls(service) for service in services.values())
    assert services["gateway"]["environment"].get("FRONTEND_REDIRECT_URL") is None


def test_the_console_fills_the_sandbox_where_there_is_one_and_never_in_production(tmp_path: Path) -> None:
    services = _services()
    assert services["console"]["environment"]["CONSOLE_SANDBOX_URL"] == "http://sandbox:8100"
    assert services["console"]["networks"].keys() & services["sandbox"]["networks"].keys() == {"pages"}
    for without in (_services(**REAL), _production(tmp_path, COMPOSE_PROFILES="console")):
        assert "CONSOLE_SANDBOX_URL" not in without["console"]["environment"]
        assert "sandbox" not in without


def test_the_console_of_a_production_starts_with_what_it_is_given(tmp_path: Path) -> None:
    console = _production(tmp_path, COMPOSE_PROFILES="console", CONSOLE_PUBLIC_URL="https://console.example.com")
    given = {name.lower(): value for name, value in console["console"]["environment"].items() if value}
    settings = ConsoleSettings.model_validate(given)
    assert settings.address == "https://console.example.com"
    assert settings.api == "https://mail.example.com"
    assert settings.console_sandbox_url is None
    [port] = console["console"]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8001")
    assert "console" not in _production(tmp_path)


def test_beside_a_google_client_the_users_urls_are_passed_on_and_a_blank_batch_url_too() -> None:
    chosen = {"GOOGLE_TOKEN_URL": "http://stand-in/token", "GMAIL_API_URL": "http://stand-in", "GMAIL_BATCH_URL": ""}
    assert _provider_urls(_services(**REAL, **chosen)["worker"]) == chosen


def test_ports_are_published_on_loopback_only_where_the_user_wants_them() -> None:
    chosen = {"GATEWAY_PORT": "1", "SANDBOX_PORT": "2", "POSTGRES_PORT": "3", "REDIS_PORT": "4", "CONSOLE_PORT": "5"}
    services = _services(**chosen)
    ports = {
        (name, port["host_ip"], port["published"]) for name in services for port in services[name].get("ports", [])
    }
    names = ("gateway", "sandbox", "postgres", "redis", "console")
    assert ports == {(name, "127.0.0.1", str(number)) for number, name in enumerate(names, start=1)}
    assert services["auth"]["environment"]["PUBLIC_URL"] == "http://localhost:1"
    assert services["auth"]["environment"]["GOOGLE_ISSUER"] == "http://localhost:2"
    assert services["auth"]["environment"]["POSTGRES_PORT"] == "5432"


def test_secrets_reach_only_the_services_that_use_them() -> None:
    services = _services(SECRET_KEY="s" * 32, SECRET_KEY_PREVIOUS="p" * 32, **REAL)
    for secret in ("SECRET_KEY", "SECRET_KEY_PREVIOUS", "GOOGLE_CLIENT_SECRET"):
        assert [name for name in services if services[name]["environment"].get(secret)] == ["auth"]
    assert [name for name in services if services[name]["environment"].get("POSTGRES_PASSWORD")] == [
        "auth-migrations", "mail-migrations", "postgres",
    ]  # fmt: skip
    passwords = {
        "AUTH_POSTGRES_PASSWORD": {"auth", "auth-migrations"},
        "MAIL_POSTGRES_PASSWORD": {"mail", "mail-migrations"},
        "WORKER_POSTGRES_PASSWORD": {"worker", "mail-migrations"},
        "DELIVERER_POSTGRES_PASSWORD": {"deliverer", "mail-migrations"},
        "AUTH_POSTGRES_OWNER_PASSWORD": {"auth-migrations"},
        "MAIL_POSTGRES_OWNER_PASSWORD": {"mail-migrations"},
    }
    for variable, users in passwords.items():
        assert {name for name in services if variable in services[name]["environment"]} == users


def test_sign_ins_under_way_may_have_a_redis_of_their_own_which_auth_alone_knows() -> None:
    own = {
        "AUTH_SIGN_IN_REDIS_HOST": "sign-ins",
        "AUTH_SIGN_IN_REDIS_PORT": "6380",
        "AUTH_SIGN_IN_REDIS_DB": "1",
        "AUTH_SIGN_IN_REDIS_USERNAME": "auth",
        "AUTH_SIGN_IN_REDIS_PASSWORD": "secret",
    }
    services = _services(**own)
    assert services["auth"]["environment"].items() >= own.items()
    assert not [name for name, each in services.items() if name != "auth" and own.keys() & each["environment"].keys()]
    # Without a value they are no variables: an empty port would be refused.
    assert not [name for name in own if _services()["auth"]["environment"].get(name) is not None]


def test_each_process_has_its_own_database_role_which_owns_nothing() -> None:
    environments = {name: service["environment"] for name, service in _services().items()}
    roles = [
        environments["auth"]["AUTH_POSTGRES_USER"],
        environments["mail"]["MAIL_POSTGRES_USER"],
        environments["worker"]["WORKER_POSTGRES_USER"],
        environments["deliverer"]["DELIVERER_POSTGRES_USER"],
        environments["auth-migrations"]["AUTH_POSTGRES_OWNER"],
        environments["mail-migrations"]["MAIL_POSTGRES_OWNER"],
    ]
    assert len(set(roles)) == 6


def test_long_lived_services_are_restarted_and_the_rest_runs_once() -> None:
    for name, service in _services().items():
        once = name == "certificates" or name.endswith("-migrations")
        assert service["restart"] == ("no" if once else "unless-stopped")


def test_each_service_sees_its_own_certificate_only_and_none_the_key_of_the_authority() -> None:
    mounted: dict[str, set[str]] = {}
    for name, service in _services().items():
        for volume in service.get("volumes", []):
            if volume["source"].startswith("tls-"):
                mounted.setdefault(name, set()).add(volume["source"])
                assert volume.get("read_only", False) == (name != "certificates")
    all_of_them = {"tls-authority", "tls-auth", "tls-gateway", "tls-mail"}
    own = {"auth": "auth", "gateway": "gateway", "mail": "mail", "worker": "mail"}
    assert mounted == {"certificates": all_of_them} | {name: {f"tls-{identity}"} for name, identity in own.items()}


def test_a_file_of_providers_is_mounted_where_it_is_used() -> None:
    inside = "/run/mailroom/providers.toml"
    for file, source in (("", "/dev/null"), ("/etc/mine.toml", "/etc/mine.toml")):
        services = _services(**({"PROVIDERS_FILE": file} if file else {}))
        mounted = {
            name: volume["source"]
            for name, service in services.items()
            for volume in service.get("volumes", [])
            if volume["target"] == inside
        }
        assert mounted == dict.fromkeys(("auth", "mail", "worker"), source)
        assert {services[name]["environment"]["PROVIDERS_FILE"] for name in mounted} == {inside if file else ""}


class TestProduction:
    def test_has_no_password_and_no_secret_in_an_environment(self, tmp_path: Path) -> None:
        for name, service in _production(tmp_path).items():
            secret = {
                variable: value
                for variable, value in service["environment"].items()
                if any(word in variable for word in ("PASSWORD", "SECRET"))
            }
            assert all(variable.endswith("_FILE") for variable in secret), name
            mounted = {f"/run/secrets/{file['source']}" for file in service.get("secrets", [])}
            assert set(secret.values()) <= mounted, name

    def test_gives_each_service_the_secrets_that_it_uses(self, tmp_path: Path) -> None:
        owners: dict[str, set[str]] = {}
        for name, service in _production(tmp_path).items():
            for secret in service.get("secrets", []):
                owners.setdefault(secret["source"], set()).add(name)
        assert owners == {
            "secret_key": {"auth"},
            "secret_key_previous": {"auth"},
            "google_client_secret": {"auth"},
            "yandex_client_secret": {"auth"},
            "postgres_password": {"postgres", "auth-migrations", "mail-migrations"},
            "postgres_auth_password": {"auth-migrations"},
            "postgres_auth_service_password": {"auth", "auth-migrations"},
            "postgres_mail_password": {"mail-migrations"},
            "postgres_mail_service_password": {"mail", "mail-migrations"},
            "postgres_mail_worker_password": {"worker", "mail-migrations"},
            "postgres_mail_deliverer_password": {"deliverer", "mail-migrations"},
            "mail_secret_key": {"mail", "deliverer"},
            "mail_secret_key_previous": {"mail", "deliverer"},
            "redis_password": {"redis", "auth", "mail", "worker"},
            "redis_gateway_password": {"redis", "gateway"},
            "redis_sign_ins_password": {"auth"},
        }

    def test_gives_auth_the_password_of_a_redis_for_sign_ins(self, tmp_path: Path) -> None:
        named = {
            name: service["environment"]["AUTH_SIGN_IN_REDIS_PASSWORD_FILE"]
            for name, service in _production(tmp_path).items()
            if "AUTH_SIGN_IN_REDIS_PASSWORD_FILE" in service["environment"]
        }
        assert named == {"auth": "/run/secrets/redis_sign_ins_password"}

    def test_gives_the_file_of_providers_to_those_that_use_it_and_its_secrets_to_auth_alone(
        self, tmp_path: Path
    ) -> None:
        inside, directory = "/run/mailroom/providers", str(tmp_path / "providers")
        mounted = {
            name: (volume["source"], volume["target"], volume["read_only"])
            for name, service in _production(tmp_path).items()
            for volume in service.get("volumes", [])
            if volume["target"].startswith(inside)
        }
        file = (f"{directory}/providers.toml", f"{inside}/providers.toml", True)
        assert mounted == {"auth": (directory, inside, True), "mail": file, "worker": file}

    def test_has_the_gateway_count_in_redis_away_from_databases(self, tmp_path: Path) -> None:
        services = _production(tmp_path)
        gateway, redis, postgres = (services[name] for name in ("gateway", "redis", "postgres"))
        assert gateway["environment"]["REDIS_HOST"] == "redis"
        assert gateway["networks"].keys() & redis["networks"].keys() == {"limits"}
        assert not gateway["networks"].keys() & postgres["networks"].keys()

    def test_publishes_the_gateway_on_loopback_only(self, tmp_path: Path) -> None:
        services = _production(tmp_path)
        [port] = services["gateway"]["ports"]
        assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", 8000)
        assert [name for name, service in services.items() if service.get("ports")] == ["gateway"]

    def test_trusts_this_machine_s_side_of_the_public_network_as_proxy(self, tmp_path: Path) -> None:
        named = _production(tmp_path)["gateway"]["environment"]["GATEWAY_TRUSTED_PROXIES"]
        settings = GatewaySettings.model_validate({"mailroom_insecure_grpc": True, "gateway_trusted_proxies": named})
        [proxy] = settings.gateway_trusted_proxies
        text = (ROOT / "deploy/compose.production.yml").read_text()
        [subnet] = re.findall(r"GATEWAY_SUBNET:-([0-9./]+)", text)
        # Docker takes the first address of a subnet for its machine.
        assert proxy.num_addresses == 1
        assert proxy.network_address == next(ip_network(subnet).hosts())

    def test_allows_egress_only_to_services_that_call_the_provider(self, tmp_path: Path) -> None:
        outside = {"provider", "public", "receivers"}
        services = _production(tmp_path).items()
        assert {name for name, service in services if outside & service.get("networks", {}).keys()} == {
            "auth", "mail", "worker", "deliverer", "gateway",
        }  # fmt: skip

    def test_lets_deliverers_out_where_they_meet_no_service_and_gives_them_no_certificate(self, tmp_path: Path) -> None:
        services = _production(tmp_path)
        deliverer = services["deliverer"]
        assert deliverer["networks"].keys() == {"data", "receivers"}
        assert [name for name, each in services.items() if "receivers" in each.get("networks", {})] == ["deliverer"]
        assert "volumes" not in deliverer
        assert not [variable for variable in deliverer["environment"] if "TLS" in variable or "REDIS" in variable]

    def test_bounds_what_each_service_takes_of_the_machine(self, tmp_path: Path) -> None:
        # `certificates` runs for a moment.
        for name, service in _production(tmp_path).items():
            limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
            assert limits.keys() == {"cpus", "memory", "pids"} or name == "certificates", name

    def test_tags_its_images_by_the_release_which_processes_know(self, tmp_path: Path) -> None:
        (tmp_path / "settings.env").write_text("MAILROOM_VERSION=0.2.0\n")
        services = _production(tmp_path, MAILROOM_VERSION="0.2.0")
        own = {name: service for name, service in services.items() if service["image"].startswith("mailroom/")}
        assert {"auth", "mail", "worker", "deliverer", "gateway"} <= own.keys()
        assert {service["image"].rpartition(":")[2] for service in own.values()} == {"0.2.0"}
        processes = [own[name]["environment"] for name in ("auth", "mail", "worker", "deliverer", "gateway")]
        assert {environment["MAILROOM_VERSION"] for environment in processes} == {"0.2.0"}

    @pytest.mark.parametrize("missing", ["PUBLIC_URL", "FRONTEND_REDIRECT_URL"])
    def test_requires_settings_without_default(self, tmp_path: Path, missing: str) -> None:
        (tmp_path / "settings.env").touch()
        chosen = {"PUBLIC_URL": "x", "FRONTEND_REDIRECT_URL": "x", "MAILROOM_PRODUCTION": str(tmp_path), missing: ""}
        with pytest.raises(AssertionError, match=f"{missing} is missing a value: is where"):
            _services("deploy/compose.production.yml", **chosen)


@pytest.mark.parametrize("chosen", [{}, {"AUTH_REQUIRE_CLIENT_PROOF": "false"}])
def test_production_demands_pkce_of_clients_unless_told_otherwise(tmp_path: Path, chosen: dict[str, str]) -> None:
    auth = _production(tmp_path, **chosen)["auth"]["environment"]
    assert auth["AUTH_REQUIRE_CLIENT_PROOF"] == chosen.get("AUTH_REQUIRE_CLIENT_PROOF", "true")


def test_production_does_not_start_redis_without_its_passwords(tmp_path: Path) -> None:
    [_, _, script] = _production(tmp_path)["redis"]["command"]
    started = tmp_path / "started"
    server = tmp_path / "valkey-server"
    server.write_text(f"#!/bin/sh\ncat > {started}\n")
    server.chmod(0o755)
    (tmp_path / "redis_password").write_text("first")
    script = script.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    for secrets, is_started in (({}, False), ({"redis_gateway_password": "second"}, True)):
        for name, secret in secrets.items():
            (tmp_path / name).write_text(secret)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, check=False)
        assert (done.returncode == 0, started.exists()) == (is_started, is_started)
    assert 'requirepass "first"' in started.read_text()
    assert 'user gateway on ">second"' in started.read_text()


def test_production_has_a_check_for_everything_that_goes_on_running(tmp_path: Path) -> None:
    # Those of images count; `docker compose up --wait` fails where one is disabled.
    disabled = {
        name for name, service in _production(tmp_path).items() if service.get("healthcheck", {}).get("disable")
    }
    assert disabled == {"auth-migrations", "mail-migrations"}
