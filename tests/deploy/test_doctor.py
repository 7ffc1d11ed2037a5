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

RUNNING = {"service": "auth", "state": "running", "health": "healthy"}
# Answers of docker by a part of its arguments: what is printed, and the exit status.
WELL = {
    "version --format": ("28.0.1", 0),
    "compose version": ("2.40.3", 0),
    "SHOW max_connections": ("200", 0),
    "max_connections": ("31", 0),
    "xact_start": ("4", 0),
    "df -P": ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 10 4 6 40% /var/lib/postgresql", 0),
    "info memory": ("used_memory:1000\r\nmaxmemory:201326592\r", 0),
    "services.kit.reach": ("0", 0),
    "before\\_restore": ("", 0),
}
CHECKS = (
    "versions",
    "settings",
    "secrets",
    "containers",
    "certificates",
    "connections",
    "pools",
    "snapshots",
    "provider",
)


@pytest.fixture
def operated(tmp_path: Path) -> Operated:
    """An installation without faults."""
    operated = Operated.create(tmp_path, auth1=RUNNING)
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

    @pytest.mark.parametrize(
        ("command", "answer", "status", "finding"),
        [
            ("compose version", "2.20.1", 0, "versions: compose 2.20.1; install 2.24 or newer"),
            ("config --quiet", "PUBLIC_URL is missing a value", 1, "settings: PUBLIC_URL is missing a value; correct"),
            ("max_connections", "91", 0, "connections: 91 % used; raise POSTGRES_MAX_CONNECTIONS"),
            ("max_connections", "", 1, "connections: unknown; is its container healthy?"),
            ("SHOW max_connections", "100", 0, "pools: processes can open 122 connections, Postgres allows 100; raise"),
            ("xact_start", "7200", 0, "snapshots: a transaction is 7200 s old"),
            ("df -P", "/dev/a 10 9 1 96% /var/lib/postgresql", 0, "disk of Postgres: 96 % used; make room"),
            ("info memory", "used_memory:95\r\nmaxmemory:100\r", 0, "memory of Valkey: 95 % used; raise REDIS_MAXMEM"),
            ("services.kit.reach", "Name or service not known", 1, "provider: auth cannot reach it: Name or service"),
            ("services.kit.reach", "-75", 0, "clock: -75 s off the provider's; synchronize"),
        ],
    )
    def test_names_what_a_container_tells(
        self, operated: Operated, command: str, answer: str, status: int, finding: str
    ) -> None:
        operated.write(answers={**WELL, command: (answer, status)})
        ended, lines = _findings(operated)
        assert ended == 1
        assert lines[0].startswith(f"FAIL  {finding}"), lines

    def test_names_a_sick_container(self, operated: Operated) -> None:
        operated.write(containers={"auth1": RUNNING, "mail1": {**RUNNING, "health": "unhealthy"}})
        assert _findings(operated)[1][0].startswith("FAIL  containers: mail1|running|unhealthy|0; see deploy/mailroom")

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
        assert "auth/tls.crt ends within 30 days; deploy/mailroom run --rm certificates" in _findings(operated)[1][0]

    def test_names_backups_that_are_old_and_those_that_it_cannot_see(self, operated: Operated, tmp_path: Path) -> None:
        yesterday = datetime.now(UTC).timestamp() - 30 * 3600
        os.utime(tmp_path / "mail.dump", (yesterday, yesterday))
        status, [line] = _findings(operated)
        assert (status, "none in" in line) == (1, True)
        operated.settings("MAILROOM_BACKUPS=")
        status, [line] = _findings(operated)
        assert (status, line.startswith("warn  backups: MAILROOM_BACKUPS")) == (0, True)

    def test_names_databases_that_a_restore_keeps(self, operated: Operated) -> None:
        operated.write(answers={**WELL, "before\\_restore": ("mailroom_mail_before_restore", 0)})
        status, [line] = _findings(operated)
        assert (status, "mailroom_mail_before_restore; deploy/mailroom restore --forget" in line) == (0, True)


class TestSupportBundle:
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
