"""What a first sync costs a worker and Postgres where the provider takes 100 ms a call: the figures of docs/sizing.md.

One worker copies mailboxes of the sandbox, whose quota is large enough never to be waited for. Prints messages a
second, CPU and bytes of WAL and of database by message, as JSON and in lines.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx

from benchmarks.process_cpu import cpu_seconds
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

# Seconds.
LATENCY = 0.1
_METHODS = ("gmail.*", "batch")
_LOOK_SECONDS = 0.1
# Seconds instead of a minute, in which a mailbox may spend 6,000 units.
_WINDOW = "1"


async def counted(stack: RunningStack) -> dict[str, float]:
    """Return stored messages, bytes of WAL and of mail's database, and CPU seconds so far."""
    variables = stack.variables
    connection = await asyncpg.connect(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        user=variables["POSTGRES_USER"],
        password=variables["POSTGRES_PASSWORD"],
        database=f"{variables['POSTGRES_DB']}_mail",
    )
    try:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM messages) AS messages, "
            "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS wal, "
            "pg_database_size(current_database())::float8 AS database"
        )
    finally:
        await connection.close()
    assert row is not None
    postgres = stack.servers["postgres"].pid or 0
    return {**dict(row), "worker_cpu": cpu_seconds(stack.pid("worker")), "postgres_cpu": cpu_seconds(postgres)}


def measure(stack: RunningStack, people: list[Person], *, messages: int) -> dict[str, float]:
    """Copy all mailboxes at once; return the figures."""
    before, began = asyncio.run(counted(stack)), time.monotonic()
    for person in people:
        person.start_sync("all")
    wanted = len(people) * messages
    while (now := asyncio.run(counted(stack)))["messages"] < wanted:
        time.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - began
    copied = {name: now[name] - before[name] for name in now}
    return {
        "messages": wanted,
        "messages_per_second": wanted / seconds,
        "worker_ms": copied["worker_cpu"] * 1000 / wanted,
        "postgres_ms": copied["postgres_cpu"] * 1000 / wanted,
        "wal_bytes": copied["wal"] / wanted,
        "database_bytes": copied["database"] / wanted,
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=16)
    parser.add_argument("--messages", type=int, default=500, help="in each of them")
    given = parser.parse_args()
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-first-sync-")))
        stack = started.enter_context(
            running_stack(
                home,
                own_servers=True,
                SANDBOX_USERS="",
                LOG_LEVEL="WARNING",
                GMAIL_QUOTA_WINDOW=_WINDOW,
                SANDBOX_QUOTA_WINDOW=_WINDOW,
            )
        )
        http = started.enter_context(httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90))
        provider = Provider(stack.sandbox_url)
        started.callback(provider.close)
        people = [Person.sign_in(http, provider.new_user(messages=given.messages)) for _ in range(given.mailboxes)]
        provider.plan_faults(*({"method": method, "kind": "slow", "seconds": LATENCY} for method in _METHODS))
        found = measure(stack, people, messages=given.messages)
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))
    for name, value in found.items():
        print(f"  {name:20} {value:10,.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
