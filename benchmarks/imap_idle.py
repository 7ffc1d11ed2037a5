"""Cost of mailboxes that idle over IMAP in one worker, at the (sandbox) servers with and without modern extensions.

Real Postgres, Valkey, worker and sandbox. Each mailbox does its first sync; measuring begins when all of them idle and
no turn is due. IDLE alone is what memory and CPU have grown by since before the first mailbox, while no poll is due. A
poll asks for the numbers of all folders; its cost is that of rounds in which all mailboxes are polled. A quiet mailbox
is polled every MAIL_POLL_LONGEST_SECONDS, one with changes in the last minutes every MAIL_POLL_SECONDS. Where the
server does not number changes of marks, as one of the two, a poll after a quarter of an hour has a turn that reads
them. Prints a JSON line and a table; exits 1 if a goal is missed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.idle_mailboxes import connect as connect_database
from benchmarks.imap_freshness import connect, open_stack
from benchmarks.process_cpu import cpu_seconds
from services.mail.model import Lane
from services.mail.settings import WorkerSettings
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack

GOAL_MEGABYTES: Final = 0.5
GOAL_CORE_PERCENT: Final = 0.5
"""Of 1,000 mailboxes that have been quiet for long, their polls included."""
# Seconds between two polls while idling is measured: longer than that takes.
_NEVER: Final = 1e6
_PATIENCE: Final = 300.0
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


async def poll_ms(
    stack: RunningStack,
    database: Database,
    *,
    mailboxes: int,
    rounds: int,
    idle: Mapping[str, float],
    passes: bool = False,
) -> dict[str, float]:
    """Return the milliseconds of each process for a poll, without what it takes to idle meanwhile.

    With `passes` a turn follows where the server does not number changes of marks, as every quarter of an hour.
    """

    async def all_begun() -> bool:
        due: int = await database.fetchval("SELECT count(*) FROM mailbox_schedule WHERE look_at IS NOT NULL")
        return due == 0

    before, began = cpu(stack), time.monotonic()
    for _ in range(rounds):
        if passes:
            await database.execute("UPDATE folder_histories SET ended_at = ended_at - interval '1 hour'")
        await database.execute("UPDATE mailbox_schedule SET look_at = now()")
        await until(all_begun, what="the polls do not end")
    await asyncio.sleep(_SETTLE_SECONDS)
    passed = time.monotonic() - began
    spent = {name: now - before[name] - idle[name] / 100 * passed for name, now in cpu(stack).items()}
    return {name: 1000 * seconds / mailboxes / rounds for name, seconds in spent.items()}


def megabytes(pid: int) -> float:
    """Return a process's memory: its own, and its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def measure(stack: RunningStack, *, mailboxes: int, seconds: float, rounds: int) -> bool:
    """Print the figures; return whether the goals are met."""
    provider, database = Provider(stack.sandbox_url), await connect_database(stack)
    empty, held = await percent(stack, seconds=seconds), megabytes(stack.pid("worker"))
    await asyncio.to_thread(connect, stack, provider, mailboxes=mailboxes)
    await settle(database, provider, mailboxes=mailboxes)
    idle = await percent(stack, seconds=seconds)
    each = (megabytes(stack.pid("worker")) - held) / mailboxes
    poll = await poll_ms(stack, database, mailboxes=mailboxes, rounds=rounds, idle=idle)
    marks = await poll_ms(stack, database, mailboxes=mailboxes, rounds=1, idle=idle, passes=True)
    await database.close()
    provider.close()
    grown = {name: (idle[name] - empty[name]) * 1000 / mailboxes for name in idle}
    return report(mailboxes=mailboxes, megabytes_each=each, empty=empty, idle=grown, poll=poll, marks=marks)


def report(
    *,
    mailboxes: int,
    megabytes_each: float,
    empty: Mapping[str, float],
    idle: Mapping[str, float],
    poll: Mapping[str, float],
    marks: Mapping[str, float],
) -> bool:
    """Print a JSON line and a table of percents of a core for 1,000 mailboxes; return whether the goals are met."""
    quiet, active = (
        WorkerSettings.model_fields[name].default for name in ("mail_poll_longest_seconds", "mail_poll_seconds")
    )
    rows = {"without mailboxes": empty, "IDLE": idle}
    # Milliseconds for one mailbox are seconds for 1,000.
    rows |= {
        f"polls of quiet ones, {quiet:g} s": {process: 100 * each / quiet for process, each in poll.items()},
        f"with marks, {quiet:g} s": {process: 100 * each / quiet for process, each in marks.items()},
        f"polls of active ones, {active:g} s": {process: 100 * each / active for process, each in poll.items()},
    }
    figures = {"idle_percent": idle, "poll_ms": poll, "marks_ms": marks, "empty_percent": empty}
    rounded = {name: {key: round(value, 3) for key, value in each.items()} for name, each in figures.items()}
    print(json.dumps({"mailboxes": mailboxes, "megabytes_each": round(megabytes_each, 3), **rounded}))
    print(f"{mailboxes} idle mailboxes, {megabytes_each:.3f} MB of the worker each; % of a core for 1,000:")
    print(f"  {'':28}" + "".join(f"{name:>10}" for name in idle))
    for name, each in rows.items():
        print(f"  {name:28}" + "".join(f"{each[process]:10.2f}" for process in idle))
    print(f"  {'a poll, ms':28}" + "".join(f"{poll[process]:10.2f}" for process in idle))
    print(f"  {'with marks, ms':28}" + "".join(f"{marks[process]:10.2f}" for process in idle))
    total = idle["worker"] + 100 * poll["worker"] / quiet
    print(f"  quiet mailboxes: {total:.2f} % of a core, goal {GOAL_CORE_PERCENT}; goal {GOAL_MEGABYTES} MB each")
    return megabytes_each <= GOAL_MEGABYTES and total <= GOAL_CORE_PERCENT


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=120.0, help="for which idling is measured, twice")
    parser.add_argument("--rounds", type=int, default=3, help="of polls")
    given = parser.parse_args()
    with open_stack(poll=_NEVER, mailboxes=given.mailboxes) as stack:
        measured = measure(stack, mailboxes=given.mailboxes, seconds=given.seconds, rounds=given.rounds)
        return int(not asyncio.run(measured))


if __name__ == "__main__":
    sys.exit(main())
