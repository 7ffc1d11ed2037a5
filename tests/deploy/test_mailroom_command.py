"""`deploy/mailroom` means one installation, whatever its caller's environment says, and touches no other stack."""

import fcntl
from pathlib import Path
from typing import Any

import pytest

from tests.support.deploy.operated import DEPLOY, Operated

HEALTHY = {"service": "auth", "state": "running", "health": "healthy"}
FILE = "/srv/checkout/deploy/compose.production.yml"


@pytest.fixture
def operated(tmp_path: Path) -> Operated:
    """An installation with one container."""
    return Operated.create(tmp_path, auth1=HEALTHY)


def _composed(operated: Operated) -> list[dict[str, Any]]:
    return [call for call in operated.read("calls") if call["arguments"][0] == "compose"]


class TestEnvironment:
    def test_chooses_project_files_and_settings_of_the_installation(self, operated: Operated) -> None:
        assert operated.run("ps").returncode == 0
        [call] = _composed(operated)
        assert call["arguments"] == ["compose", "ps"]
        assert (
            call["environment"].items()
            >= {
                "COMPOSE_PROJECT_NAME": "mailroom-production",
                "COMPOSE_FILE": str(DEPLOY / "compose.production.yml"),
                "COMPOSE_ENV_FILES": str(operated.production / "settings.env"),
                "MAILROOM_PRODUCTION": str(operated.production),
            }.items()
        )

    def test_takes_nothing_else_from_its_caller(self, operated: Operated) -> None:
        of_a_developer = {
            "COMPOSE_FILE": "docker-compose.yml",
            "COMPOSE_PROJECT_NAME": "mailroom",
            "COMPOSE_PROFILES": "observability",
            "PUBLIC_URL": "http://localhost:8000",
            "AUTH_REQUIRE_CLIENT_PROOF": "false",
            "GOOGLE_TOKEN_URL": "http://sandbox:8100/token",
        }
        operated.run("up", "--detach", **of_a_developer)
        [call] = _composed(operated)
        seen = call["environment"]
        assert {name: seen[name] for name in of_a_developer if name in seen} == {
            "COMPOSE_FILE": str(DEPLOY / "compose.production.yml"),
            "COMPOSE_PROJECT_NAME": "mailroom-production",
        }

    def test_adds_an_override_of_the_installation_and_its_own_project_name(self, operated: Operated) -> None:
        override = operated.production / "compose.override.yml"
        override.touch()
        operated.settings("MAILROOM_PROJECT=second")
        operated.run("ps")
        seen = _composed(operated)[0]["environment"]
        assert seen["COMPOSE_FILE"] == f"{DEPLOY / 'compose.production.yml'}:{override}"
        assert seen["COMPOSE_PROJECT_NAME"] == "second"

    def test_reads_values_as_compose_does(self, operated: Operated) -> None:
        operated.settings('MAILROOM_PROJECT="second"  # of two', "POSTGRES_MAX_CONNECTIONS='300' # of 400\r")
        assert operated.run("up").returncode == 0
        [call] = _composed(operated)
        assert call["environment"]["COMPOSE_PROJECT_NAME"] == "second"
        assert int(call["environment"]["MAILROOM_CONNECTIONS"]) < 300

    def test_is_the_same_through_links(self, operated: Operated, tmp_path: Path) -> None:
        (tmp_path / "linked").symlink_to(operated.production)
        operated.run("ps", MAILROOM_PRODUCTION=str(tmp_path / "linked"))
        assert _composed(operated)[0]["environment"]["MAILROOM_PRODUCTION"] == str(operated.production)

    def test_without_an_installation_names_the_command_that_makes_one(self, operated: Operated) -> None:
        done = operated.run("up", MAILROOM_PRODUCTION="/nowhere")
        assert (done.returncode, "first-install" in done.stderr) == (1, True)
        assert operated.read("calls") == []


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], ["help"], ["-h"]])
    def test_needs_no_installation(self, operated: Operated, arguments: list[str], tmp_path: Path) -> None:
        done = operated.run(*arguments, MAILROOM_PRODUCTION=str(tmp_path / "none"))
        assert (done.returncode, done.stderr) == (0, "")
        assert "deploy/mailroom first-install" in done.stdout

    @pytest.mark.parametrize(
        "command", ["first-install", "backup", "restore", "doctor", "support-bundle", "replace-service"]
    )
    def test_of_a_command_does_nothing_else(self, operated: Operated, command: str, tmp_path: Path) -> None:
        done = operated.run(command, "--help", MAILROOM_PRODUCTION=str(tmp_path / "none"))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
        assert operated.read("calls") == []
        assert not (tmp_path / "none").exists()


class TestRefusal:
    @pytest.mark.parametrize("command", [["up"], ["restart"], ["replace-service", "auth"]])
    def test_of_a_start_before_certificates_are_made(self, operated: Operated, command: list[str]) -> None:
        (operated.production / "certificates/mail").rmdir()
        done = operated.run(*command)
        assert (done.returncode, "certificates/mail: deploy/mailroom run --rm cert" in done.stderr) == (1, True)
        assert _composed(operated) == []
        assert operated.run("run", "--rm", "certificates").returncode == 0

    @pytest.mark.parametrize("container", [f"{FILE}|/srv/another/production", "/home/dev/mailroom/docker-compose.yml|"])
    @pytest.mark.parametrize("command", [["up"], ["down"], ["replace-service", "auth"], ["restore", "/backups"]])
    def test_of_a_project_with_containers_of_another_stack(
        self, operated: Operated, container: str, command: list[str]
    ) -> None:
        operated.write(projects={"mailroom-production": [f"{FILE}|{operated.production}", container]})
        done = operated.run(*command)
        assert (done.returncode, "containers of another stack" in done.stderr) == (1, True)
        assert _composed(operated) == []

    def test_of_a_second_installation_beside_one_with_the_former_name(self, operated: Operated) -> None:
        operated.write(projects={"mailroom": [f"{FILE}|"]})
        done = operated.run("up")
        assert (done.returncode, "MAILROOM_PROJECT=mailroom" in done.stderr) == (1, True)
        operated.settings("MAILROOM_PROJECT=mailroom")
        assert operated.run("up").returncode == 0

    def test_is_none_of_own_containers_and_of_developers_in_a_checkout_called_mailroom(
        self, operated: Operated
    ) -> None:
        own = [f"{FILE},/etc/override.yml|{operated.production}"]
        operated.write(projects={"mailroom-production": own, "mailroom": ["/home/dev/mailroom/docker-compose.yml|"]})
        assert operated.run("up").returncode == 0

    @pytest.mark.parametrize("flag", ["-v", "--volumes", "--volumes=true"])
    def test_of_the_deletion_of_all_mail(self, operated: Operated, flag: str) -> None:
        assert "would delete all mail" in operated.run("down", flag).stderr
        assert _composed(operated) == []
        assert operated.run("down").returncode == 0

    def test_of_options_that_hide_the_command(self, operated: Operated) -> None:
        done = operated.run("--profile", "console", "down", "--volumes")
        assert (done.returncode, "the command comes first" in done.stderr) == (1, True)
        assert _composed(operated) == []


class TestSecrets:
    @pytest.mark.parametrize("command", [["up"], ["run", "--rm", "certificates"], ["replace-service", "auth"]])
    def test_written_under_a_narrow_umask_are_named(self, operated: Operated, command: list[str]) -> None:
        secret = operated.production / "secrets/google_client_secret"
        secret.chmod(0o600)
        done = operated.run(*command)
        assert (done.returncode, f"services cannot read {secret}" in done.stderr) == (1, True)
        assert _composed(operated) == []

    def test_of_a_file_of_providers_is_named_when_it_is_missing_or_hidden(self, operated: Operated) -> None:
        file = operated.production / "providers/providers.toml"
        file.chmod(0o600)
        assert f"services cannot read {file}" in operated.run("up").stderr
        file.unlink()
        assert f"{file} is missing: deploy/mailroom first-install" in operated.run("up").stderr

    def test_that_are_missing_are_named(self, operated: Operated) -> None:
        for name in ("google_client_secret", "redis_gateway_password", "mail_secret_key"):
            (operated.production / "secrets" / name).unlink()
            assert f"{name} is missing: deploy/mailroom first-install" in operated.run("up").stderr
            (operated.production / "secrets" / name).touch(0o444)


class TestConnections:
    @pytest.mark.parametrize(
        "settings", [["WORKERS=6"], ["WORKER_SLOTS=40"], ["DELIVERERS=4"], ["POSTGRES_MAX_CONNECTIONS=100"]]
    )
    def test_that_do_not_fit_while_services_are_replaced_are_refused(
        self, operated: Operated, settings: list[str]
    ) -> None:
        operated.settings(*settings)
        assert "set POSTGRES_MAX_CONNECTIONS to" in operated.run("up").stderr
        assert _composed(operated) == []

    def test_that_fit_are_those_of_all_pools_twice(self, operated: Operated) -> None:
        # 2 * (10 + 10 + 6 * 18 + 2 * 11) + 10
        operated.settings("WORKERS=6", "DELIVERERS=2", "POSTGRES_MAX_CONNECTIONS=310")
        assert operated.run("up").returncode == 0


class TestUp:
    def test_that_fails_shows_the_last_lines_of_what_is_not_well(self, operated: Operated) -> None:
        ended = {"service": "mail-migrations", "state": "exited", "health": ""}
        sick = {"service": "mail", "state": "restarting", "health": "unhealthy"}
        waits = {"service": "gateway", "state": "created", "health": ""}
        # Docker shows neither health nor exit status at the moment at which it restarts a container.
        loops = {"service": "worker", "state": "running", "health": "", "restarts": "3"}
        operated.write(
            broken=True,
            containers={
                "auth-1": HEALTHY, "mail-migrations-1": ended, "mail-1": sick, "gateway-1": waits, "worker-1": loops,
            },
        )  # fmt: skip
        done = operated.run("up", "--detach", "--wait")
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "mailroom: mail-1 is restarting and unhealthy, restarted 0 times: last line of mail-1",
            "mailroom: worker-1 is running, restarted 3 times: last line of worker-1",
        ]


class TestReplaceService:
    def test_leaves_as_many_new_containers_as_there_were(self, operated: Operated) -> None:
        operated.write(containers={"w1": _worker(), "w2": _worker(), "auth1": HEALTHY})
        assert operated.run("replace-service", "worker").returncode == 0
        assert sorted(operated.read("containers")) == ["auth1", "new1-0", "new1-1"]

    def test_that_fails_removes_the_new_ones_however_often(self, operated: Operated) -> None:
        operated.write(broken=True, containers={"w1": _worker(), "w2": _worker()})
        for _ in range(3):
            done = operated.run("replace-service", "worker")
            assert done.returncode == 1
            assert "did not get healthy; its last lines:\nlast line of new" in done.stderr
            assert sorted(operated.read("containers")) == ["w1", "w2"]
        operated.write(broken=False)
        assert operated.run("replace-service", "worker").returncode == 0
        assert len(operated.read("containers")) == 2

    @pytest.mark.parametrize("broken", [False, True])
    def test_after_one_that_was_killed_keeps_the_number(self, operated: Operated, *, broken: bool) -> None:
        operated.write(containers={"w1": _worker(), "w2": _worker()}, kill_caller=True, broken=broken)
        operated.run("replace-service", "worker")
        assert len(operated.read("containers")) == 4
        operated.write(kill_caller=False, broken=False)
        assert operated.run("replace-service", "worker").returncode == 0
        after = operated.read("containers")
        assert (len(after), {"w1", "w2"} & after.keys()) == (2, set())

    def test_of_a_gateway_with_one_port_ends_the_old_one_first(self, operated: Operated) -> None:
        assert operated.run("replace-service", "gateway").returncode == 0
        [call] = _composed(operated)
        assert call["arguments"][1:] == ["up", "--detach", "--no-deps", "--force-recreate", "--wait", "gateway"]
        operated.write(
            broken=True, containers={"gateway1": {"service": "gateway", "state": "running", "health": "unhealthy"}}
        )
        done = operated.run("replace-service", "gateway")
        assert (done.returncode, "last line of gateway1" in done.stderr) == (1, True)

    def test_of_a_gateway_with_two_ports_starts_the_new_one_first(self, operated: Operated) -> None:
        operated.settings("GATEWAY_PUBLISH=127.0.0.1:8000-8001")
        operated.write(containers={"gateway1": HEALTHY | {"service": "gateway"}})
        assert operated.run("replace-service", "gateway").returncode == 0
        assert list(operated.read("containers")) == ["new1-0"]
        ups = [call["arguments"] for call in _composed(operated) if "up" in call["arguments"]]
        assert "gateway=2" in ups[0]

    def test_starts_no_ended_container_in_place_of_a_new_one(self, operated: Operated) -> None:
        operated.write(containers={"w1": _worker(), "w2": _worker() | {"state": "exited"}})
        operated.run("replace-service", "worker")
        assert list(operated.read("containers")) == ["new1-0"]

    def test_of_a_service_that_does_not_run_says_so(self, operated: Operated) -> None:
        assert "mail does not run" in operated.run("replace-service", "mail").stderr

    @pytest.mark.parametrize("named", [[], ["nonsense"], ["postgres"]])
    def test_of_no_service_names_those_that_there_are(self, operated: Operated, named: list[str]) -> None:
        done = operated.run("replace-service", *named)
        assert (done.returncode, done.stderr) == (
            2, "replace-service: name the service: auth, mail, worker, deliverer or gateway\n",
        )  # fmt: skip

    def test_beside_another_one_changes_nothing(self, operated: Operated) -> None:
        (operated.production / "replacing").mkdir()
        with (operated.production / "replacing/auth.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = operated.run("replace-service", "auth")
            assert (done.returncode, "another replace-service auth is at work" in done.stderr) == (1, True)
            assert list(operated.read("containers")) == ["auth1"]
        assert operated.run("replace-service", "auth").returncode == 0

    def test_called_by_its_own_name_means_the_same_installation(self, operated: Operated) -> None:
        assert operated.run("auth", script="replace-service", COMPOSE_PROJECT_NAME="mailroom").returncode == 0
        assert {call["environment"]["COMPOSE_PROJECT_NAME"] for call in _composed(operated)} == {"mailroom-production"}


def _worker() -> dict[str, str]:
    return {"service": "worker", "state": "running", "health": "healthy"}
