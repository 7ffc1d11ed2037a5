"""Cost of mailboxes that idle over IMAP in one worker, at the (sandbox) servers with and without modern extensions.

Real Postgres, Valkey, worker and sandbox. Each mailbox does its first sync. When all of them idle and no turn is due,
they are made quiet: as if nothing had happened for a day, and as if their marks had been compared at different times.
What the worker takes then is measured, not extrapolated: IDLE, the polls that come every MAIL_POLL_LONGEST_SECONDS, and
with some of them comparisons of marks, where the server does not number their changes (Yandex). Afterwards polls and
comparisons of all mailboxes at once tell what one costs. Prints a JSON line and a table; exits 1 if a goal is missed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.idle_mailboxes import connect as connect_database
from benchmarks.imap_freshness import PROVIDERS, connect, open_stack
from benchmarks.process_cpu import cpu_seconds
from services.mail.model import Lane
from services.mail.settings import WorkerSettings
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack

GOAL_MEGABYTES: Final = 0.5
GOAL_CORE_PERCENT: Final = 0.5
"""Of 1,000 mailboxes that have been quiet for long, their polls included."""
_PATIENCE: Final = 600.0
# The defaults of MAIL_POLL_SECONDS and IMAP_MARKS_LONGEST_SECONDS.
_POLL_SECONDS = float(WorkerSettings.model_fields["mail_poll_seconds"].default)
_MARKS_SECONDS: Final = 3_600.0
# Seconds after the last turn in which connections begin to idle, and their garbage is collected.
_SETTLE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5

type Database = asyncpg.Connection[asyncpg.Record]


async def until(is_so: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Wait for a condition. Raises AssertionError."""
    deadline = time.monotonic() + _PATIENCE
    while not await is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} in {_PATIENCE:.0f} s")
        await asyncio.sleep(_LOOK_SECONDS)


async def settle(database: Database, provider: Provider, *, mailboxes: int) -> None:
    """Wait until all mailboxes idle over a connection, and no turn is due."""

    async def is_quiet() -> bool:
        idle: int = await database.fetchval(
            "SELECT count(*) FROM mailbox_schedule "
            "WHERE lane = $1 AND lease_until IS NULL AND look_at IS NULL AND held_until > now()",
            Lane.IDLE,
        )
        accounts = provider.get("/imap")["accounts"].values()
        connections = sum(int(account["connections"]) for account in accounts)
        return idle == connections == mailboxes

    await until(is_quiet, what=f"{mailboxes} mailboxes do not idle")
    await asyncio.sleep(_SETTLE_SECONDS)


def cpu(stack: RunningStack) -> dict[str, float]:
    """Return the CPU seconds so far of the worker, and of Postgres, Valkey and the sandbox."""
    pids = {"worker": stack.pid("worker"), "sandbox": stack.pid("sandbox")}
    pids |= {name: server.pid or 0 for name, server in stack.servers.items()}
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


async def percent(stack: RunningStack, *, seconds: float) -> dict[str, float]:
    """Return the share of a core that each process takes within so many seconds."""
    before, began = cpu(stack), time.monotonic()
    await asyncio.sleep(seconds)
    return {name: 100 * (now - before[name]) / (time.monotonic() - began) for name, now in cpu(stack).items()}


async def make_quiet(database: Database) -> None:
    """Let mailboxes be quiet for a day, and their marks be due at different times."""
    await database.execute("UPDATE mailbox_schedule SET active_at = now() - interval '1 day'")
    await database.execute(
        "UPDATE folder_histories SET ended_at = now() - random() * make_interval(secs => $1)",
        _MARKS_SECONDS,
    )


async def poll_ms(
    stack: RunningStack, database: Database, *, mailboxes: int, rounds: int, quiet: Mapping[str, float], hours: int = 0
) -> dict[str, float]:
    """Return the milliseconds of each process for a poll, without what quiet mailboxes take meanwhile.

    `hours` pass before each: marks are compared then where the server does not number their changes.
    """

    async def all_begun() -> bool:
        due: int = await database.fetchval("SELECT count(*) FROM mailbox_schedule WHERE look_at IS NOT NULL")
        return due == 0

    before, began = cpu(stack), time.monotonic()
    for _ in range(rounds):
        if hours:
            await database.execute(
                "UPDATE folder_histories SET ended_at = ended_at - make_interval(hours => $1)", hours
            )
        await database.execute("UPDATE mailbox_schedule SET look_at = now()")
        await until(all_begun, what="the polls do not end")
    await asyncio.sleep(_SETTLE_SECONDS)
    passed = time.monotonic() - began
    spent = {name: now - before[name] - quiet[name] / 100 * passed for name, now in cpu(stack).items()}
    return {name: 1000 * seconds / mailboxes / rounds for name, seconds in spent.items()}


def megabytes(pid: int) -> float:
    """Return a process's memory: its own, and its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def measure(
    stack: RunningStack, *, mailboxes: int, seconds: float, rounds: int, providers: Sequence[str]
) -> bool:
    """Print the figures; return whether the goals are met."""
    provider, database = Provider(stack.sandbox_url), await connect_database(stack)
    empty, held = await percent(stack, seconds=seconds / 2), megabytes(stack.pid("worker"))
    await asyncio.to_thread(connect, stack, provider, mailboxes=mailboxes, providers=providers)
    await settle(database, provider, mailboxes=mailboxes)
    await make_quiet(database)
    quiet = await percent(stack, seconds=seconds)
    each = (megabytes(stack.pid("worker")) - held) / mailboxes
    poll = await poll_ms(stack, database, mailboxes=mailboxes, rounds=rounds, quiet=quiet)
    # The first comparison after a pass reads the copy's marks.
    first = await poll_ms(stack, database, mailboxes=mailboxes, rounds=1, quiet=quiet, hours=2)
    marks = await poll_ms(stack, database, mailboxes=mailboxes, rounds=rounds, quiet=quiet, hours=2)
    await database.close()
    provider.close()
    costs = {"a poll": poll, "a first one with marks": first, "one with marks": marks}
    return report(mailboxes=mailboxes, megabytes_each=each, empty=empty, quiet=quiet, costs=costs)


def report(
    *,
    mailboxes: int,
    megabytes_each: float,
    empty: Mapping[str, float],
    quiet: Mapping[str, float],
    costs: Mapping[str, Mapping[str, float]],
) -> bool:
    """Print a JSON line and a table of percents of a core and of milliseconds; return whether the goals are met."""
    grown = {name: (quiet[name] - empty[name]) * 1000 / mailboxes for name in quiet}
    active = _POLL_SECONDS
    # Milliseconds for one mailbox are seconds for 1,000.
    polled = {name: 100 * each / active for name, each in costs["a poll"].items()}
    rows = {
        "% without mailboxes": empty,
        "% quiet ones, for 1,000": grown,
        f"% polls of active ones, {active:g} s": polled,
        **{f"ms {name}": each for name, each in costs.items()},
    }
    rounded = {name: {key: round(value, 3) for key, value in each.items()} for name, each in rows.items()}
    print(json.dumps({"mailboxes": mailboxes, "megabytes_each": round(megabytes_each, 3), **rounded}))
    print(f"{mailboxes} idle mailboxes, {megabytes_each:.3f} MB of the worker each")
    print(f"  {'':30}" + "".join(f"{name:>10}" for name in empty))
    for name, each in rows.items():
        print(f"  {name:30}" + "".join(f"{each[process]:10.2f}" for process in empty))
    print(f"  goals: {GOAL_CORE_PERCENT} % of a core of the worker, {GOAL_MEGABYTES} MB each")
    return megabytes_each <= GOAL_MEGABYTES and grown["worker"] <= GOAL_CORE_PERCENT


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=240.0, help="for which quiet mailboxes are measured")
    parser.add_argument("--rounds", type=int, default=3, help="of polls")
    parser.add_argument("--server", choices=PROVIDERS, help="alone")
    given = parser.parse_args()
    with open_stack(poll=_POLL_SECONDS, mailboxes=given.mailboxes) as stack:
        measured = measure(
            stack,
            mailboxes=given.mailboxes,
            seconds=given.seconds,
            rounds=given.rounds,
            providers=PROVIDERS if given.server is None else [given.server],
        )
        return int(not asyncio.run(measured))


if __name__ == "__main__":
    sys.exit(main())
