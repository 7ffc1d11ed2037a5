"""A day of 50,000 mailboxes: units, writes and CPU of idle checks, and how late new mail is found.

Time and the provider are simulated: the clock jumps from event to event. Postgres, Valkey, schedule, idle check, quota
and watermarks are the real ones; turns are shortened to their units and to what they write into the schedule. A
snapshot, as of a dump, is held open for the last half. CPU of the process includes the simulation.

A whole day of all mailboxes takes hours. Mail comes evenly over the day, and checks have their units evenly, so that a
part of the day stands for all of it: all mailboxes are simulated, with the whole day's limits, for as long as the time
allows. Fewer mailboxes have a smaller part of the day's units. Prints JSON lines and a table; exits 1 if a goal is
missed.
"""

import argparse
import asyncio
import json
import math
import secrets
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from benchmarks.simulated_day.clock import START, Clock, replace_clock
from benchmarks.simulated_day.day import DAY, FULL, Day
from benchmarks.simulated_day.servers import POOL_SIZE, Servers, create_database
from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey, RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis

# With push.
GOAL_PART_OF_DAY: Final = 0.5
# Written by a check that finds nothing, and its cost for Postgres beside a snapshot as a multiple of that before.
GOAL_ROWS: Final = 0.1
GOAL_BESIDE_SNAPSHOT: Final = 1.5
# With and without push, and checks alone.
SITUATIONS: Final = (("push", True, True), ("polling", False, True), ("no mail", False, False))
# Seconds until checks come as evenly as at any other time: two rounds.
WARM_UP: Final = 120.0
# Seconds that are simulated at once, between two looks at the real clock.
STEP: Final = 60.0

type Figures = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Options:
    """How much is simulated: so many hours, or as much of the day as takes so many real minutes, warm-up included."""

    mailboxes: int
    hours: float | None
    minutes: float


async def simulate(
    servers: Servers, clock: Clock, options: Options, *, push: bool, mail: bool = True
) -> dict[str, float]:
    """Run the beginning of a day after a warm-up, its last half beside a snapshot; return the figures."""
    mailboxes, real_end = options.mailboxes, time.monotonic() + options.minutes * 60
    await servers.redis.flushdb()
    await servers.connection.execute("TRUNCATE mailboxes, idle_groups, quota_watermarks RESTART IDENTITY CASCADE")
    await clock.move(servers.connection, START + math.ceil((clock.now - START) / DAY) * DAY)
    day = Day(pool=servers.pool, redis=servers.redis, clock=clock, mailboxes=mailboxes, push=push, seed=1)
    await day.fill(servers.connection, mailboxes, mail=mail)
    await day.run(servers.connection, until=clock.now + WARM_UP)
    day.forget()
    before, began = await servers.count(day), clock.now
    half_way = (time.monotonic() + real_end) / 2
    while clock.now < began + options.hours * 1800 if options.hours else time.monotonic() < half_way:
        await day.run(servers.connection, until=clock.now + STEP)
    middle, half = await servers.count(day), clock.now - began
    async with servers.pool.acquire() as reader, reader.transaction(isolation="repeatable_read"):
        await reader.fetchval("SELECT count(*) FROM mailbox_schedule")
        await day.run(servers.connection, until=clock.now + half)
        after = await servers.count(day)
    await day.check.close()
    await day.quota.flush()
    beside = after.since(middle)["postgres_ms"] / middle.since(before)["postgres_ms"]
    hours = (clock.now - began) / 3600
    figures = day.figures(days=mailboxes * hours / 24)
    return {"hours": hours, **figures, **after.since(before), "beside_snapshot": beside}


async def measure(database: Database, redis: RedisAddress, *, pids: tuple[int, int], options: Options) -> list[Figures]:
    """Replace Postgres's clock, then simulate mailboxes with push, without, and without any mail."""
    async with AsyncExitStack() as stack:
        await replace_clock(database)
        address = database.server
        settings = Postgres(
            host=address.host,
            port=address.port,
            user=address.user,
            password=SecretStr(address.password),
            database=database.name,
        )
        pool = await create_pool(settings, application_name="day", size=POOL_SIZE + 2, idle_in_transaction=3600)
        stack.push_async_callback(pool.close)
        client = create_redis(RedisSettings(redis_host=redis.host, redis_port=redis.port, redis_db=redis.database))
        stack.push_async_callback(client.aclose)
        connection = await stack.enter_async_context(pool.acquire())
        # The clock's own commits need not reach the disk.
        await connection.execute("SET synchronous_commit = off")
        servers = Servers(pool, connection, client, *pids)
        clock = Clock()
        results: list[Figures] = []
        for name, push, mail in SITUATIONS:
            found = await simulate(servers, clock, options, push=push, mail=mail)
            results.append({"situation": name, **{key: round(value, 4) for key, value in found.items()}})
            print(json.dumps(results[-1]), flush=True)
    return results


def is_good(results: list[Figures]) -> bool:
    """Whether the goals are met: with push, and by checks alone."""
    pushed, _, quiet = results
    return (
        float(pushed["part_of_day"]) < GOAL_PART_OF_DAY
        and float(quiet["rows"]) < GOAL_ROWS
        and float(quiet["beside_snapshot"]) < GOAL_BESIDE_SNAPSHOT
    )


def report(results: list[Figures]) -> None:
    """Print a row for each situation."""
    columns = {
        "situation": "",
        "hours": "hours",
        "part_of_day": "of the day",
        "checks": "checks",
        "check_units": "units: checks",
        "mail_units": "mail",
        "watch_units": "watches",
        "delay_p50": "delay p50",
        "delay_p99": "p99",
        "delay_max": "max",
        "rows": "rows/check",
        "wal_bytes": "WAL bytes",
        "postgres_ms": "Postgres ms",
        "valkey_ms": "Valkey",
        "process_ms": "process",
        "beside_snapshot": "snapshot",
    }
    print("\na mailbox and day; writes and CPU by check")
    print(" ".join(f"{title:>13}" for title in columns.values()))
    for result in results:
        print(" ".join(f"{result.get(key, ''):>13}" for key in columns))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=FULL)
    parser.add_argument("--hours", type=float, help="of the day; as many as fit into the minutes unless given")
    parser.add_argument("--minutes", type=float, default=20, help="real ones, for all three situations together")
    given = parser.parse_args()
    options = Options(mailboxes=given.mailboxes, hours=given.hours, minutes=given.minutes / len(SITUATIONS))
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-day-")))
        ports = Ports()
        postgres = started.enter_context(EmbeddedPostgres(home, port=ports.free(), password=secrets.token_hex(16)))
        valkey = started.enter_context(EmbeddedValkey(home, port=ports.free()))
        database = create_database(postgres.address)
        pids = postgres.pid or 0, valkey.pid or 0
        results = asyncio.run(measure(database, valkey.address, pids=pids, options=options))
    report(results)
    return int(not is_good(results))


if __name__ == "__main__":
    sys.exit(main())
