"""Gain of more workers: 1, 2 and 4 of them on one machine, on many mailboxes concurrently, without quota.

Messages per second, CPU per message of the workers and of Postgres, and utilisation of each part of the system: a
Python process has one core at most, the machine has all of them. The part with the highest utilisation is the limit.
The sandbox, which in production would be another machine's load, is included. Prints JSON lines and a table.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping

from benchmarks.process_cpu import machine_seconds
from benchmarks.sync_ways.stage import Stage, open_stage

WORKERS = (1, 2, 4)
_MAILBOXES = 12


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500, help="per mailbox")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = ["worker", *(f"worker-{number}" for number in range(2, 1 + max(WORKERS)))]
    with open_stage(more_workers=max(WORKERS) - 1) as stage:
        for name in names[1:]:
            stage.stack.stop(name)
        measure(stage, names[:1], messages=options.messages, seed=0)  # all processes are warm
        results: list[dict[str, float]] = []
        running = 1
        for count in WORKERS:
            for name in names[running:count]:
                stage.stack.start(name)
            running = count
            rounds = [measure(stage, names[:count], messages=options.messages, seed=n) for n in range(options.rounds)]
            results.append({key: statistics.median(each[key] for each in rounds) for key in rounds[0]})
            print(json.dumps({key: round(value, 3) for key, value in results[-1].items()}), flush=True)
    report(results)
    return 0


def measure(stage: Stage, workers: list[str], *, messages: int, seed: int) -> dict[str, float]:
    """Copy all mailboxes concurrently."""
    people = [stage.person(messages=messages, seed=seed * 100 + number) for number in range(_MAILBOXES)]
    before, began = busy(stage, workers), time.perf_counter()
    syncs = [person.start_sync("all") for person in people]
    for person, sync in zip(people, syncs, strict=True):
        person.await_end(sync)
    seconds = time.perf_counter() - began
    spent = {name: after - before[name] for name, after in busy(stage, workers).items()}
    for person in people:
        stage.assert_stored(person, messages)
    count = messages * len(people)
    cores = len(os.sched_getaffinity(0))
    return {
        "workers": len(workers),
        "messages_per_second": count / seconds,
        "worker_ms": spent["workers"] * 1000 / count,
        "postgres_ms": spent["postgres"] * 1000 / count,
        "busy_worker": spent["workers"] / seconds / len(workers),
        "busy_sandbox": spent["sandbox"] / seconds,
        "busy_machine": spent["machine"] / seconds / cores,
    }


def busy(stage: Stage, workers: list[str]) -> Mapping[str, float]:
    """Return the CPU seconds so far by part of the system."""
    return {
        "workers": stage.cpu(*workers),
        "postgres": stage.postgres_cpu(),
        "sandbox": stage.cpu("sandbox"),
        "machine": machine_seconds(),
    }


def report(results: list[dict[str, float]]) -> None:
    """Print a row for each number of workers."""
    head = (
        f"{'workers':>7} {'messages/s':>11} {'ms CPU/message':>24} {'busy: worker':>13} {'sandbox':>8} {'machine':>8}"
    )
    print(f"\n{head}  limit")
    for result in results:
        shares = {name: result[f"busy_{name}"] for name in ("worker", "sandbox", "machine")}
        limit = max(shares, key=lambda name: shares[name])
        cpu = f"{result['worker_ms']:.3f} + Postgres {result['postgres_ms']:.3f}"
        print(
            f"{result['workers']:7.0f} {result['messages_per_second']:11.0f} {cpu:>24} {shares['worker']:13.0%} "
            f"{shares['sandbox']:8.0%} {shares['machine']:8.0%}  {limit}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
