"""PgBouncer (https://www.pgbouncer.org) in session mode, in front of a server, unprivileged."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from deploy.local.postgres import PostgresAddress
from tests.support.peers.skips import require

_SECONDS = 10
_CONFIGURATION = """
[databases]
* = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {free}
unix_socket_dir =
auth_type = any
pool_mode = session
default_pool_size = {pool_size}
max_client_conn = 100
"""


@contextmanager
def running_pgbouncer(server: PostgresAddress, *, port: int, pool_size: int = 20) -> Iterator[PostgresAddress]:
    """Run PgBouncer on `port`, with `pool_size` connections to the server; yield its address."""
    program = require("/usr/sbin/pgbouncer", "PgBouncer", source="debian")
    directory = Path(mkdtemp(prefix="pgbouncer-", dir="/tmp"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            free=port,
            pool_size=pool_size,
        )
    )
    if account is not None:
        for path in (directory, configuration):
            os.chown(path, account.pw_uid, account.pw_gid)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(configuration)], stdout=log, stderr=log, user=None if account is None else account.pw_uid
        )
    try:
        _await_port(process, port)
        yield replace(server, host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(_SECONDS)
        shutil.rmtree(directory)


def _await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, "PgBouncer has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "PgBouncer does not listen"
            time.sleep(0.05)
        else:
            return
