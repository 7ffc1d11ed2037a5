"""A day of 50,000 mailboxes: units, writes and CPU of idle checks, and how late new mail is found.

Time and the provider are simulated: the clock jumps from event to event. Postgres, Valkey, schedule, idle check, quota
and watermarks are the real ones; turns are shortened to their units and to what they write into the schedule. CPU of
the process includes the simulation.

A whole day of all mailboxes takes hours. So a sample of them is simulated for the whole day, with its part of the day's
units: units, delays and rows of a mailbox depend on no other as long as the units suffice. All of them are simulated
for a part of the day, which shows what depends on their number: how late checks are, the CPU of one, and that beside a
snapshot, as of a dump, which is held open for the last half. Prints JSON lines and a table; exits 1 if a goal is
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
from benchmarks.simulated_day.servers import POOL_SIZE, Counted, Servers, create_database
from deploy.local.ports import Ports
from deploy.local.postgres import Database, EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey, RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis

# With push.
GOAL_PART_OF_DAY: Final = 0.5
# Rows written by a check that finds nothing, in a full group, and its cost for Postgres beside a snapshot as a multiple
# of that before.
GOAL_ROWS: Final = 0.1
GOAL_BESIDE_SNAPSHOT: Final = 1.5
# Seconds until checks come as evenly as at any other time: two rounds.
WARM_UP: Final = 120.0
# Seconds that are simulated at once, between two looks at the real clock.
STEP: Final = 60.0
# Real minutes for a part of the day, however long the whole days took.
SHORTEST_MINUTES: Final = 1.0

type Figures = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Situation:
    """With and without push, or checks alone."""

    name: str
    push: bool
    mail: bool = True


SITUATIONS: Final = (
    Situation("push", push=True),
    Situation("polling", push=False),
    Situation("no mail", push=False, mail=False),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The extent of a simulation: a whole day of `sample`, and of all `mailboxes` as much as takes `minutes`.

    The minutes are of real time, and those of all situations together.
    """

    sample: int
    mailboxes: int
    minutes: float


async def simulate(
    servers: Servers, clock: Clock, situation: Situation, *, mailboxes: int, minutes: float | None
) -> dict[str, float]:
    """Run a day after a warm-up, or its beginning for so many real minutes, the last half beside a snapshot."""
    real_end = time.monotonic() + (minutes or 0.0) * 60
    await servers.redis.flushdb()
    await servers.connection.execute("TRUNCATE mailboxes, idle_groups, quota_watermarks RESTART IDENTITY CASCADE")
    await clock.move(servers.connection, START + math.ceil((clock.now - START) / DAY) * DAY)
    day = Day(pool=servers.pool, redis=servers.redis, clock=clock, mailboxes=mailboxes, push=situation.push, seed=1)
    await day.fill(servers.connection, mailboxes, mail=situation.mail)
    await day.run(servers.connection, until=clock.now + WARM_UP)
    day.forget()
    before, began = await servers.count(day), clock.now
    if minutes is None:
        await day.run(servers.connection, until=clock.now + DAY)
        beside, after = {}, await servers.count(day)
    else:
        half_way = (time.monotonic() + real_end) / 2
        while time.monotonic() < half_way:
            await day.run(servers.connection, until=clock.now + STEP)
        middle = await servers.count(day)
        after = await _beside_snapshot(servers, day, until=2 * clock.now - began)
        alone = middle.since(before, mailboxes=mailboxes)["postgres_ms"]
        beside = {"beside_snapshot": after.since(middle, mailboxes=mailboxes)["postgres_ms"] / alone}
    await day.check.close()
    await day.quota.flush()
    hours = (clock.now - began) / 3600
    figures = day.figures(days=mailboxes * hours / 24)
    return {"mailboxes": mailboxes, "hours": hours, **figures, **after.since(before, mailboxes=mailboxes), **beside}


async def _beside_snapshot(servers: Servers, day: Day, *, until: float) -> Counted:
    async with servers.pool.acquire() as reader, reader.transaction(isolation="repeatable_read"):
        await reader.fetchval("SELECT count(*) FROM mailbox_schedule")
        await day.run(servers.connection, until=until)
        return await servers.count(day)


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
        end = time.monotonic() + options.minutes * 60
        results: list[Figures] = []
        for situation in SITUATIONS:
            found = await simulate(servers, clock, situation, mailboxes=options.sample, minutes=None)
            _add(results, situation, found)
        for left, situation in zip(range(len(SITUATIONS), 0, -1), SITUATIONS, strict=True):
            minutes = max(SHORTEST_MINUTES, (end - time.monotonic()) / 60 / left)
            found = await simulate(servers, clock, situation, mailboxes=options.mailboxes, minutes=minutes)
            _add(results, situation, found)
    return results


def _add(results: list[Figures], situation: Situation, found: dict[str, float]) -> None:
    results.append({"situation": situation.name, **{key: round(value, 4) for key, value in found.items()}})
    print(json.dumps(results[-1]), flush=True)


def is_good(results: list[Figures]) -> bool:
    """Return whether the goals are met: with push, and by checks alone."""
    pushed, _, quiet, all_pushed, _, all_quiet = results
    return (
        max(float(pushed["part_of_day"]), float(all_pushed["part_of_day"])) < GOAL_PART_OF_DAY
        and float(quiet["rows"]) < GOAL_ROWS
        and float(all_quiet["beside_snapshot"]) < GOAL_BESIDE_SNAPSHOT
    )


def report(results: list[Figures]) -> None:
    """Print a row for each situation."""
    columns = {
        "situation": "",
        "mailboxes": "mailboxes",
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
    parser.add_argument("--sample", type=int, default=1_000, help="mailboxes of the whole day")
    parser.add_argument("--minutes", type=float, default=20, help="real ones, for all situations together")
    given = parser.parse_args()
    options = Options(sample=given.sample, mailboxes=given.mailboxes, minutes=given.minutes)
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
