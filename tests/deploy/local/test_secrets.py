"""Each process of `make run` gets its own secrets only."""

from pathlib import Path

import pytest

from deploy.local.environment import Settings, service_variables
from deploy.local.ports import Ports
from deploy.local.secrets import PROCESSES, own_environment
from deploy.local.stack import processes

_DATABASE = {
    "POSTGRES_PASSWORD": "p-admin",
    "AUTH_POSTGRES_PASSWORD": "p-auth",
    "AUTH_POSTGRES_OWNER_PASSWORD": "p-auth-owner",
    "MAIL_POSTGRES_PASSWORD": "p-mail",
    "MAIL_POSTGRES_OWNER_PASSWORD": "p-mail-owner",
    "WORKER_POSTGRES_PASSWORD": "p-worker",
    "DELIVERER_POSTGRES_PASSWORD": "p-deliverer",
}
_SECRETS = _DATABASE | {
    "SECRET_KEY": "k" * 32,
    "SECRET_KEY_PREVIOUS": "o" * 32,
    "GOOGLE_CLIENT_SECRET": "g-secret",
    "YANDEX_CLIENT_SECRET": "y-secret",
    "SANDBOX_CLIENT_SECRET": "s-secret",
    "CONSOLE_SECRET_KEY": "c" * 32,
    "MAIL_SECRET_KEY": "m" * 32,
    "MAIL_SECRET_KEY_PREVIOUS": "n" * 32,
    "REDIS_PASSWORD": "r-secret",
}
_OF = {
    "sandbox": {"SANDBOX_CLIENT_SECRET"},
    "auth": {
        *("SECRET_KEY", "SECRET_KEY_PREVIOUS", "GOOGLE_CLIENT_SECRET", "YANDEX_CLIENT_SECRET"),
        *("AUTH_POSTGRES_PASSWORD", "REDIS_PASSWORD"),
    },
    "mail": {"MAIL_SECRET_KEY", "MAIL_SECRET_KEY_PREVIOUS", "MAIL_POSTGRES_PASSWORD", "REDIS_PASSWORD"},
    "deliverer": {"MAIL_SECRET_KEY", "MAIL_SECRET_KEY_PREVIOUS", "DELIVERER_POSTGRES_PASSWORD"},
    "worker": {"WORKER_POSTGRES_PASSWORD", "REDIS_PASSWORD"},
    "gateway": {"REDIS_PASSWORD"},
    "console": {"CONSOLE_SECRET_KEY"},
    "auth.migrations": {"AUTH_POSTGRES_PASSWORD", "AUTH_POSTGRES_OWNER_PASSWORD", "POSTGRES_PASSWORD"},
    "mail.migrations": {
        *("MAIL_POSTGRES_PASSWORD", "WORKER_POSTGRES_PASSWORD", "MAIL_POSTGRES_OWNER_PASSWORD", "POSTGRES_PASSWORD"),
        "DELIVERER_POSTGRES_PASSWORD",
    },
    "auth.command": {"SECRET_KEY", "SECRET_KEY_PREVIOUS", "AUTH_POSTGRES_PASSWORD"},
}


class TestOwnEnvironment:
    @pytest.mark.parametrize("process", PROCESSES)
    def test_has_the_secrets_of_the_process_alone(self, process: str) -> None:
        environment = own_environment(_SECRETS | {"TZ": "UTC"}, process=process)
        assert environment.keys() - {"TZ"} == _OF[process]
        assert environment["TZ"] == "UTC"

    @pytest.mark.parametrize("process", PROCESSES)
    def test_treats_files_of_secrets_alike(self, process: str) -> None:
        files = {f"{name}_FILE": f"/run/{name}" for name in _SECRETS}
        assert own_environment(files, process=process).keys() == {f"{name}_FILE" for name in _OF[process]}

    @pytest.mark.parametrize("process", ["auth", "mail", "worker"])
    def test_has_the_one_password_where_services_have_no_roles(self, process: str) -> None:
        shared = {"POSTGRES_PASSWORD": "p", "AUTH_POSTGRES_PASSWORD": "", "MAIL_POSTGRES_PASSWORD": ""}
        assert own_environment(shared, process=process)["POSTGRES_PASSWORD"] == "p"

    def test_has_mails_password_where_workers_have_no_role(self) -> None:
        shared = {"POSTGRES_PASSWORD": "p", "MAIL_POSTGRES_PASSWORD_FILE": "/run/m"}
        assert own_environment(shared, process="worker") == {"MAIL_POSTGRES_PASSWORD_FILE": "/run/m"}


class TestProcesses:
    def test_of_the_stack_share_no_secret_but_that_of_redis(self, tmp_path: Path, ports: Ports) -> None:
        settings = Settings(
            _SECRETS | {"GATEWAY_PORT": "0", "MAILROOM_HOME": str(tmp_path)}, inherited={"SECRET_KEY": "inherited"}
        )
        variables = service_variables(settings, ports, lambda name: name) | _DATABASE
        for service in processes(settings, variables):
            given = {name for name, value in service.environment.items() if value in set(_SECRETS.values())}
            # The stand-in's client is the client of Google.
            assert given == _OF[service.name] & given, service.name
            assert {name for name in _SECRETS if name in service.environment} == _OF[service.name]
