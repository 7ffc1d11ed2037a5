"""`deploy/mailroom doctor` finds each fault and names a remedy; `support-bundle` leaves secrets and addresses out."""

import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.kit.tls.authority import ensure_certificates
from tests.support.deploy.operated import Operated

SERVICES = ("postgres", "redis", "renewal", "auth", "mail", "worker", "deliverer", "gateway")
RUNNING = {"state": "running", "health": "healthy"}
# Answers of docker by a part of its arguments: what is printed, and the exit status.
WELL = {
    "version --format": ("28.0.1", 0),
    "config --services": ("\n".join((*SERVICES, "auth-migrations", "mail-migrations")), 0),
    "compose version": ("2.40.3", 0),
    "SHOW max_connections": ("200", 0),
    "max_connections": ("31", 0),
    "xact_start": ("4", 0),
    "archive_mode": ("taken", 0),
    "df -P": ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 10 4 6 40% /var/lib/postgresql", 0),
    "info memory": ("used_memory:1000\r\nmaxmemory:201326592\r", 0),
    "services.kit.reach": ("0", 0),
    "before_restore": ("", 0),
}
CHECKS = (
    "versions",
    "settings",
    "secrets",
    "containers",
    "releases",
    "certificates",
    "connections",
    "pools",
    "snapshots",
    "archive",
    "provider",
)


def _well() -> dict[str, dict[str, str]]:
    """Return the containers of an installation that is up, by name."""
    servers = ("postgres", "redis")
    images = {name: {} if name in servers else {"image": f"mailroom/{name}:local"} for name in SERVICES}
    running = {f"{name}-1": RUNNING | {"service": name} | images[name] for name in SERVICES}
    ended = {"service": "mail-migrations", "state": "exited", "health": ""}
    return running | {"mailroom-mail-migrations-1": ended}


@pytest.fixture
def operated(tmp_path: Path) -> Operated:
    """An installation without faults."""
    operated = Operated.create(tmp_path, **_well())
    operated.settings("GOOGLE_CLIENT_ID=x", "PUBLIC_URL=https://mail.example.com", f"MAILROOM_BACKUPS={tmp_path}")
    ensure_certificates(operated.production / "certificates", now=datetime.now(UTC))
    (tmp_path / "mail.dump").touch()
    operated.write(answers=WELL)
    return operated


def _findings(operated: Operated) -> tuple[int, list[str]]:
    """Return the exit status, and the lines that are not ok."""
    done = operated.run("doctor")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) >= len(CHECKS)
    return done.returncode, [line for line in lines if not line.startswith("ok ")]


class TestDoctor:
    def test_finds_nothing_in_an_installation_without_faults(self, operated: Operated) -> None:
        assert _findings(operated) == (0, [])
        shown = operated.run("doctor").stdout
        assert [check for check in CHECKS if f"ok    {check}" not in shown] == []

    # A run finds all of them; one for each would take a second each.
    @pytest.mark.parametrize(
        "told",
        [
            [
                ("compose version", "2.20.1", 0, "versions: compose 2.20.1; install 2.24 or newer"),
                ("max_connections", "91", 0, "connections: 91 % used; raise POSTGRES_MAX_CONNECTIONS"),
                ("xact_start", "7200", 0, "snapshots: a transaction is 7200 s old"),
                ("archive_mode", "0000000100000007", 0, "archive: WAL cannot be archived (0000000100000007); see"),
                ("df -P", "/dev/a 10 9 1 96% /var/lib/postgresql", 0, "disk of Postgres: 96 % used; make room"),
                ("info memory", "used_memory:95\r\nmaxmemory:100\r", 0, "memory of Valkey: 95 % used; raise REDIS_MAX"),
                ("services.kit.reach", "Name or service not known", 1, "provider: auth cannot reach it: Name or serv"),
            ],
            [
                ("max_connections", "", 1, "connections: unknown; is its container healthy?"),
                ("SHOW max_connections", "100", 0, "pools: processes can open 144 connections, Postgres allows 100;"),
                ("services.kit.reach", "-75", 0, "clock: -75 s off the provider's; synchronize"),
            ],
            [
                (
                    "config --quiet",
                    "PUBLIC_URL is missing a value",
                    1,
                    "settings: PUBLIC_URL is missing a value; correct",
                )
            ],
        ],
        ids=["much", "little", "settings"],
    )
    def test_names_what_containers_tell(self, operated: Operated, told: list[tuple[str, str, int, str]]) -> None:
        answers = {command: (answer, status) for command, answer, status, _ in told}
        operated.write(answers={**WELL, **answers})
        ended, lines = _findings(operated)
        assert ended == 1
        for *_, finding in told:
            assert any(line.startswith(f"FAIL  {finding}") for line in lines), (finding, lines)

    def test_names_what_an_installation_from_before_webhooks_lacks(self, operated: Operated) -> None:
        for name in ("mail_secret_key", "postgres_mail_deliverer_password"):
            (operated.production / "secrets" / name).unlink()
        containers = _well()
        del containers["deliverer-1"]
        operated.write(containers=containers)
        remedy = "deploy/mailroom first-install makes them"
        assert _findings(operated) == (1, [
            f"FAIL  secrets: missing: postgres_mail_deliverer_password mail_secret_key; {remedy}",
            "FAIL  containers: no container runs of deliverer; deploy/mailroom up --detach --wait",
        ])  # fmt: skip
        operated.run("first-install")
        assert "ok    secrets" in operated.run("doctor").stdout

    def test_misses_no_deliverer_where_none_is_wanted(self, operated: Operated) -> None:
        containers = _well()
        del containers["deliverer-1"]
        operated.write(containers=containers)
        operated.settings("DELIVERERS=0")
        assert _findings(operated) == (0, [])

    def test_names_containers_that_are_not_well_with_their_last_lines(self, operated: Operated) -> None:
        containers = _well()
        containers["mail-1"] |= {"health": "unhealthy"}
        containers["worker-1"] |= {"health": "starting", "restarts": "7"}
        # Ended without an error, as no server should.
        containers["redis-1"] |= {"state": "exited", "health": "", "code": "0"}
        values = "FATAL:  the disk is full\n2026 [1] DETAIL:  Failing row contains (Dear Ada)."
        containers["postgres-1"] |= {"state": "restarting", "health": "", "restarts": "2", "line": values}
        containers["gateway-1"] |= {"state": "created", "health": ""}
        del containers["auth-1"]
        operated.write(containers=containers)
        lines = operated.run("doctor").stdout.splitlines()
        missing = "auth gateway postgres redis"
        remedy = "; remedy its cause, deploy/mailroom up --detach --wait"
        assert f"FAIL  containers: no container runs of {missing}; deploy/mailroom up --detach --wait" in lines
        begin = next(i for i, line in enumerate(lines) if line.startswith("FAIL  containers: postgres-1"))
        assert lines[begin : begin + 4] == [
            "FAIL  containers: postgres-1 is restarting, restarted 2 times: FATAL:  the disk is full",
            "      redis-1 has ended with 0: last line of redis-1",
            "      mail-1 is running and unhealthy, restarted 0 times: last line of mail-1",
            "      worker-1 is running and starting, restarted 7 times: last line of worker-1" + remedy,
        ]
        # The network is not to blame.
        assert "FAIL  provider: unknown, since auth does not run" in lines

    def test_names_a_full_disk_on_which_postgres_does_not_start(self, operated: Operated) -> None:
        full = ("/dev/a 10 10 0 100% /var/lib/postgresql", 0)
        operated.write(answers={"exec -T postgres": ("", 1), **WELL, "df postgres -P": full})
        shown = operated.run("doctor").stdout
        assert "archive" not in shown
        lines = shown.splitlines()
        assert any(line.startswith("FAIL  disk of Postgres: 100 % used; make room") for line in lines), lines
        # What cannot be asked is told once, and not as old transactions.
        assert not any("snapshots" in line for line in lines)

    def test_without_an_engine_says_that_alone(self, operated: Operated) -> None:
        operated.write(answers={**WELL, "version --format": ("", 1)})
        done = operated.run("doctor")
        assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
        assert done.stdout.startswith("FAIL  versions: the engine does not answer; start it")

    def test_names_settings_that_nothing_reads_and_reads_the_others_as_compose_does(
        self, operated: Operated, tmp_path: Path
    ) -> None:
        (operated.production / "compose.override.yml").write_text("# ${SANDBOX_PORT}\n")
        operated.settings(
            'PUBLIC_URL="https://mail.example.com"', f"MAILROOM_BACKUPS='{tmp_path}'  # nightly", "WORKERS=2",
            "MAILROOM_VERSION=local\r", "SANDBOX_PORT=8100", "OTEL_TRACES_SAMPLER=always_on", "GATEWAY_PUBISH=8001",
        )  # fmt: skip
        told = "settings: nothing reads GATEWAY_PUBISH; compare the names with .env.example and docs/operate.md"
        assert _findings(operated) == (0, [f"warn  {told}"])

    def test_names_what_an_interrupted_upgrade_left(self, operated: Operated) -> None:
        operated.settings("MAILROOM_VERSION=0.2.0")
        containers = _well()
        for name in ("auth", "mail", "gateway", "renewal"):
            containers[f"{name}-1"] = containers[f"{name}-1"] | {"image": f"mailroom/{name}:0.2.0"}
        containers["deliverer-1"] |= {"image": "mailroom/mail:0.2.0"}
        containers["worker-1"] = containers["worker-1"] | {"image": "mailroom/mail:0.1.0"}
        operated.write(containers=containers)
        status, [line] = _findings(operated)
        told = "warn  releases: MAILROOM_VERSION is 0.2.0, but worker mailroom/mail:0.1.0 runs; finish the upgrade"
        assert (status, line.startswith(told)) == (0, True)

    def test_looks_at_a_console_where_one_is_wanted(self, operated: Operated) -> None:
        services, status = WELL["config --services"]
        operated.write(answers={**WELL, "config --services": (f"{services}\nconsole", status)})
        missing = "FAIL  containers: no container runs of console; deploy/mailroom up --detach --wait"
        assert _findings(operated) == (1, [missing])
        old = RUNNING | {"service": "console", "image": "mailroom/console:0.1.0"}
        operated.write(containers=_well() | {"console-1": old})
        status, [line] = _findings(operated)
        assert (status, "console mailroom/console:0.1.0 runs; finish the upgrade" in line) == (0, True)

    def test_names_a_secret_that_services_cannot_read_or_others_can_reach(self, operated: Operated) -> None:
        secret = operated.production / "secrets/secret_key"
        secret.chmod(0o600)
        assert f"readable for services: {secret}; write it, chmod 444" in _findings(operated)[1][0]
        secret.chmod(0o444)
        (operated.production / "secrets").chmod(0o755)
        assert f"others can enter {operated.production}/secrets; chmod 700" in _findings(operated)[1][0]

    def test_names_a_client_without_its_secret(self, operated: Operated) -> None:
        assert (operated.production / "secrets/yandex_client_secret").read_text() == ""
        operated.settings("YANDEX_CLIENT_ID=y")
        assert f"{operated.production}/secrets/yandex_client_secret; write it" in _findings(operated)[1][0]

    def test_is_content_with_a_file_of_providers_alone(self, operated: Operated) -> None:
        operated.settings("GOOGLE_CLIENT_ID=")
        file = operated.production / "providers/providers.toml"
        file.chmod(0o644)
        file.write_text("[example]\n")
        assert _findings(operated) == (0, [])

    @pytest.mark.parametrize("settings", [["GOOGLE_CLIENT_ID="], ["PUBLIC_URL=http://mail.example.com"]])
    def test_names_a_setting_that_cannot_be_right(self, operated: Operated, settings: list[str]) -> None:
        operated.settings(*settings)
        status, [line] = _findings(operated)
        assert (status, line.startswith(f"FAIL  settings: {settings[0].partition('=')[0]}")) == (1, True)

    def test_names_certificates_that_end(self, operated: Operated) -> None:
        soon = datetime.now(UTC) - timedelta(days=340)
        certificates = operated.production / "certificates"
        for file in certificates.rglob("*.crt"):
            file.unlink()
        ensure_certificates(certificates, now=soon)
        line = _findings(operated)[1][0]
        assert "auth/tls.crt ends on " in line
        assert line.endswith(" GMT; deploy/mailroom run --rm certificates")

    def test_names_certificates_that_are_missing_or_none(self, operated: Operated) -> None:
        file = operated.production / "certificates/mail/tls.crt"
        file.write_text("nothing")
        assert f"certificates: {file} cannot be read; replace it" in _findings(operated)[1][0]
        file.unlink()
        assert f"certificates: there is no {file}; deploy/mailroom run --rm certificates" in _findings(operated)[1][0]

    def test_names_backups_that_are_old_and_those_that_it_cannot_see(self, operated: Operated, tmp_path: Path) -> None:
        yesterday = datetime.now(UTC).timestamp() - 30 * 3600
        os.utime(tmp_path / "mail.dump", (yesterday, yesterday))
        status, [line] = _findings(operated)
        assert (status, "none in" in line) == (1, True)
        operated.settings("MAILROOM_BACKUPS=")
        status, [line] = _findings(operated)
        assert (status, line.startswith("warn  backups: MAILROOM_BACKUPS")) == (0, True)

    def test_names_databases_that_a_restore_keeps(self, operated: Operated) -> None:
        operated.write(answers={**WELL, "before_restore": ("mailroom_mail_before_restore", 0)})
        status, [line] = _findings(operated)
        assert (status, "mailroom_mail_before_restore; deploy/mailroom restore --forget" in line) == (0, True)


class TestSupportBundle:
    def test_leaves_out_what_is_secret_wherever_it_stands(self, operated: Operated, tmp_path: Path) -> None:
        secret = (operated.production / "secrets/redis_password").read_text().strip()
        provider = operated.production / "providers/example_secret"
        provider.write_text("a.b*c[d]^/$e&f\\g\n")
        operated.settings(
            "# OLD_PASSWORD=hunter2-hunter2",
            " export my_token = 'hunter3 hunter3'",
            "HTTPS_PROXY=http://me:hunter4@proxy:3128",
            "WORKERS=3",
        )
        log = "\n".join((
            f"redis: {secret}", "provider: a.b*c[d]^/$e&f\\g", "again: hunter3 hunter3",
            "postgres://me:hunter5@host:5432/x", "/emails/ada%40mail.example.com", "müller@bücher.example",
            'LOG:  duration: 3 ms  statement: INSERT "Dear Ada"', " DETAIL:  Failing row contains (Dear Ada).",
            " FATAL:  the disk is full",
        ))  # fmt: skip
        operated.write(answers={**WELL, "logs": (log, 0)})
        file = tmp_path / "bundle.tar.gz"
        assert operated.run("support-bundle", str(file)).returncode == 0
        with tarfile.open(file) as bundle:
            texts = {name: bundle.extractfile(name) for name in bundle.getnames() if name != "."}
            read = {name: text.read().decode() for name, text in texts.items() if text is not None}
        assert {f"./{name}.log" for name in SERVICES} - read.keys() == set()
        assert {name for name in read if name.endswith(".metrics")} == {
            f"./{name}.metrics" for name in ("auth", "deliverer", "gateway", "mail", "worker")
        }
        everything = "\n".join(read.values())
        for left_out in (secret, "c[d]", "hunter", "ada%40", "müller", "bücher"):
            assert left_out not in everything, left_out
        assert read["./postgres.log"] == " FATAL:  the disk is full\n"
        assert "WORKERS=3" in read["./settings.env"]

    def test_that_cannot_be_written_says_so(self, operated: Operated) -> None:
        done = operated.run("support-bundle", "/nowhere/bundle.tar.gz")
        assert (done.returncode, done.stdout) == (1, "")
        assert "support-bundle: /nowhere/bundle.tar.gz cannot be written" in done.stderr
        assert operated.run("support-bundle").stderr.startswith("support-bundle: name the file")

    def test_leaves_secrets_and_addresses_out(self, operated: Operated, tmp_path: Path) -> None:
        operated.settings("OTEL_EXPORTER_OTLP_HEADERS=authorization=hunter2", "SOME_TOKEN=hunter2", "WORKERS=3")
        operated.write(answers={**WELL, "logs": ('{"event": "x", "email": "ada.l@mail.example.com"}', 0)})
        file = tmp_path / "bundle.tar.gz"
        done = operated.run("support-bundle", str(file))
        assert (done.returncode, done.stdout) == (0, f"wrote {file}\n"), done.stderr
        with tarfile.open(file) as bundle:
            members = {name: bundle.extractfile(name) for name in bundle.getnames() if name != "."}
            texts = {name: member.read().decode() for name, member in members.items() if member is not None}
        everything = "\n".join(texts.values())
        secrets = [path.read_text().strip() for path in (operated.production / "secrets").iterdir()]
        assert [secret for secret in [*secrets, "hunter2", "ada.l"] if secret and secret in everything] == []
        assert "[address]" in texts["./mail.log"]
        assert "WORKERS=3" in texts["./settings.env"]
        assert "ok    certificates" in texts["./doctor.txt"]
        assert file.stat().st_mode & 0o077 == 0


def test_an_unreachable_provider_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "services.kit.reach", "http://127.0.0.1:9/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("http://127.0.0.1:9/: ")
    assert len(done.stderr.splitlines()) == 1
