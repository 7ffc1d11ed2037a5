"""`deploy/recovery` brings a second instance to a moment before a mistake, from a base backup and archived WAL."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from deploy.local import placement
from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres

SCRIPT = Path(__file__).parents[2] / "deploy/recovery"
PASSWORD = secrets.token_hex(8)


@dataclass(frozen=True)
class Site:
    """A server that archives, and a directory for what is made of it. The server's user enters all of it."""

    directory: Path
    server: EmbeddedPostgres

    @property
    def archive(self) -> Path:
        """The directory of WAL and base backups."""
        return self.directory / "archive"

    def recovery(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script with PostgreSQL's programs."""
        address = self.server.address
        found = {
            "PATH": f"{placement.installed_program()}:{os.environ['PATH']}",
            "MAILROOM_ARCHIVE": str(self.archive),
            "PGHOST": address.host,
            "PGPORT": str(address.port),
            "PGUSER": address.user,
            "PGPASSWORD": address.password,
        }
        return subprocess.run(
            [SCRIPT, *arguments], env=found | environment, capture_output=True, text=True, timeout=60, check=False
        )

    def done(self, *arguments: str, **environment: str) -> str:
        """Run the script; return its output, and fail with its errors."""
        ended = self.recovery(*arguments, **environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async def connect(self, server: EmbeddedPostgres | None = None) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect to the server, or to another one."""
        return await asyncpg.connect(Database(server=(server or self.server).address, name="postgres").dsn)

    async def archived(self) -> None:
        """Return when all WAL that is written now is archived."""
        connection = await self.connect()
        try:
            await connection.fetchval("SELECT pg_create_restore_point('written')")
            written = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
            while (await connection.fetchval("SELECT last_archived_wal FROM pg_stat_archiver") or "") < written:
                pass
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def site(ports: Ports) -> Iterator[Site]:
    # Not below pytest's directory, which the server's user cannot enter.
    directory = Path(tempfile.mkdtemp(prefix="mailroom-recovery-"))
    directory.chmod(0o777)
    (directory / "archive").mkdir()
    (directory / "archive").chmod(0o777)
    script = shutil.copy(SCRIPT, directory)
    (directory / "home").mkdir()
    archiving = {
        "archive_mode": "on",
        "archive_command": f"MAILROOM_ARCHIVE={directory}/archive {script} archive %p %f",
        "wal_level": "replica",
    }
    with EmbeddedPostgres(directory / "home", port=ports.free(), password=PASSWORD, settings=archiving) as server:
        yield Site(directory, server)
    shutil.rmtree(directory)


def second_instance(site: Site, ports: Ports, name: str, *moment: str) -> EmbeddedPostgres:
    """Return another server, whose data the script restores to a moment."""
    home = site.directory / name
    home.mkdir()
    place = placement.place(home, program=placement.installed_program())
    site.done("restore", str(place.data), *moment)
    if place.user is not None:
        for path in (place.data, *place.data.rglob("*")):
            os.chown(path, place.user.uid, place.user.gid)
    return EmbeddedPostgres(home, port=ports.free(), password=PASSWORD)


def _until_the_next_second() -> None:
    """Wait until a base backup gets another name, and until moments are after the last one's."""
    second = int(time.time())
    while int(time.time()) == second:
        pass


class TestRecovery:
    async def test_brings_a_second_instance_to_the_moment_before_a_mistake(self, site: Site, ports: Ports) -> None:
        connection = await site.connect()
        try:
            await connection.execute("CREATE TABLE mails (number int); INSERT INTO mails VALUES (1)")
            site.done("base")
            _until_the_next_second()
            await connection.execute("INSERT INTO mails VALUES (2)")
            moment = await connection.fetchval("SELECT clock_timestamp()::text")
            await connection.execute("DROP TABLE mails")
        finally:
            await connection.close()
        await site.archived()
        archived = sorted(path.name for path in (site.archive / "wal").iterdir())

        with second_instance(site, ports, "before", moment) as second:
            # It is set on the command line of the first one, and recovery would refuse a lower one.
            data = placement.place(site.directory / "before", program=placement.installed_program()).data
            assert "max_connections = 300\n" in (data / "postgresql.auto.conf").read_text()
            connection = await site.connect(second)
            try:
                rows = await connection.fetch("SELECT number FROM mails ORDER BY 1")
                assert [row["number"] for row in rows] == [1, 2]
                # It writes, into a history of its own, and not into the archive of the first one.
                await connection.execute("INSERT INTO mails VALUES (3); SELECT pg_switch_wal()")
            finally:
                await connection.close()
        assert sorted(path.name for path in (site.archive / "wal").iterdir()) == archived

        with second_instance(site, ports, "end") as second:
            connection = await site.connect(second)
            try:
                assert await connection.fetchval("SELECT to_regclass('mails')") is None
            finally:
                await connection.close()

    async def test_restores_into_an_empty_directory_and_to_a_moment_after_a_base_backup_only(self, site: Site) -> None:
        site.done("base")
        full = site.directory / "full"
        full.mkdir()
        (full / "file").touch()
        assert "full is not empty" in site.recovery("restore", str(full)).stderr
        new = site.directory / "new"
        refusals = (
            ("2020-01-01 00:00:00+00", "no base backup"),
            ("yesterday evening-ish", "is no time"),
            ("2099-01-01 00:00:00+00", "before 2099-01-01 00:00:00+00: let the server archive the rest"),
        )
        for moment, reason in refusals:
            refused = site.recovery("restore", str(new), moment)
            assert reason in refused.stderr
            assert (refused.returncode, new.exists()) == (1, False)

    async def test_keeps_what_the_days_need(self, site: Site) -> None:
        site.done("base")
        await site.archived()
        bases = sorted((site.archive / "base").iterdir())
        old = [base.rename(base.with_name(f"2020-01-0{n}T000000Z")) for n, base in enumerate(bases, start=1)]
        site.done("base")
        # Of the old ones the newest stays, with its WAL: the wanted days begin before the one that was just made.
        [kept, _] = sorted((site.archive / "base").iterdir())
        assert kept == old[-1]
        before = len(list((site.archive / "wal").iterdir()))
        _until_the_next_second()
        site.done("base", MAILROOM_RECOVERY_DAYS="0")
        assert len(list((site.archive / "base").iterdir())) == 1
        assert len(list((site.archive / "wal").iterdir())) < before


class TestArchive:
    def test_takes_a_file_again_and_no_other_under_its_name(self, site: Site, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("wal")
        for _ in range(2):
            site.done("archive", str(file), "segment")
        file.write_text("another")
        refused = site.recovery("archive", str(file), "segment")
        assert "another server" in refused.stderr
        assert refused.returncode == 1
        assert (site.archive / "wal/segment").read_text() == "wal"
        (site.archive / "wal/segment").unlink()
