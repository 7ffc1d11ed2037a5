"""A worker as a process of its own, on the servers of a stage."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.mail.sandbox_control import QUOTA_WINDOW
from tests.support.mail.stage import Stage

LEASE_SECONDS = 1


def environment(s: Stage, *, auth_address: str) -> dict[str, str]:
    """Return the environment of a worker process."""
    database, redis = s.servers.worker_database, s.servers.redis.connection_pool.connection_kwargs
    return {
        "PATH": os.environ["PATH"],
        "MAIL_POSTGRES_HOST": database.host,
        "MAIL_POSTGRES_PORT": str(database.port),
        "WORKER_POSTGRES_USER": database.user,
        "WORKER_POSTGRES_PASSWORD": database.password.get_secret_value(),
        "MAIL_POSTGRES_DB": database.database,
        "REDIS_HOST": redis["host"],
        "REDIS_PORT": str(redis["port"]),
        "REDIS_DB": str(redis["db"]),
        "AUTH_ADDRESS": auth_address,
        "MAILROOM_INSECURE_GRPC": "true",
        "GMAIL_API_URL": f"{s.servers.sandbox.url}/gmail/v1",
        "GMAIL_BATCH_URL": f"{s.servers.sandbox.url}/batch",
        "GMAIL_QUOTA_WINDOW": str(QUOTA_WINDOW),
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "WORKER_ADMIN_PORT": "0",
    }


@asynccontextmanager
async def worker_process(
    s: Stage, directory: Path, *, auth_address: str, further: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker process as operators do; kill it at the end if it still runs.

    `further` is added to its environment. It logs to worker.log in the directory.
    """
    with (directory / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.mail.worker",
            cwd=directory,
            env=environment(s, auth_address=auth_address) | dict(further or {}),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
