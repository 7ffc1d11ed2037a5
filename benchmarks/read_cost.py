"""Cost of reading with a million messages loaded: lists against two alternatives, searches, and idle memory.

The messages are in 100 mailboxes, a tenth of them in one; they are loaded once and kept (in --home). Lists of 50 are
requested in turn from Mailroom (gateway and gRPC, with an access token), from a plain FastAPI and ORM monolith, and
from bare ASGI with asyncpg; values are medians of the rounds. CPU time is that of each alternative's processes and of
Postgres.
Claims: the monolith takes at least 2.2 times a list's CPU time and p50; each kind of search in the large mailbox
has a p50 below 20 ms and a maximum below 100 ms (a phrase of three very common words: a p50 below 50 ms); all idle
processes of the stack take less than 0.6 GB; exporting the large mailbox makes none of them grow by more than three
times the largest attachment (75 MB).
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.read_ways import exports, lists, searches
from benchmarks.read_ways.lists import BARE, MAILROOM, MONOLITH, Line
from benchmarks.read_ways.memory import proportional_mb
from benchmarks.read_ways.searches import Found
from benchmarks.read_ways.stage import open_stage
from benchmarks.read_ways.words import load_words

CLAIM_TIMES = 2.2
CLAIM_MB = 600
_REST_SECONDS = 5


def main() -> int:
    """Load and measure; 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=int(os.environ.get("BENCH_MESSAGES", "1000000")))
    parser.add_argument("--mailboxes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="lists per way and round")
    parser.add_argument("--home", type=Path, help="where the loaded stack is kept: .benchmarks/read-MESSAGES")
    options = parser.parse_args()
    home = options.home or Path(".benchmarks") / f"read-{options.messages}"
    home.parent.mkdir(exist_ok=True)
    with open_stage(home, messages=options.messages, mailboxes=options.mailboxes) as stage:
        time.sleep(_REST_SECONDS)  # background work of loading and signing in has ended
        memory = {name: round(proportional_mb(pid)) for name, pid in stage.pids.items()}
        print(json.dumps({"memory_at_rest_mb": memory}), flush=True)
        stage.renew_tokens()
        found = searches.measure(stage, load_words())
        stage.renew_tokens()
        ways = lists.compare(stage, rounds=options.rounds, requests=options.requests)
        grown = exports.measure(stage)
    return _report(ways, found, memory, grown)


def _report(
    ways: Mapping[str, Line], found: Sequence[Found], memory: Mapping[str, int], grown: Mapping[str, float]
) -> int:
    names = list(ways[MAILROOM])
    print(f"\n{'a list of 50':<34}" + "".join(f"{name:>17}" for name in names))
    for way, line in ways.items():
        print(f"{way:<34}" + "".join(f"{line[name]:>17.2f}" for name in names))
    print(f"\n{'searches, ms':<34}{'p50':>9}{'max':>9}")
    for one in found:
        late = "" if one.fits else "  too slow"
        print(f"{one.kind:<34}{one.times.percentile(50):>9.1f}{one.times.percentile(100):>9.1f}{late}")
    print("\nidle MB: " + ", ".join(f"{name} {size}" for name, size in memory.items()), f"= {sum(memory.values())}")
    print("MB grown by an export: " + ", ".join(f"{name} {size}" for name, size in grown.items()))
    mailroom, monolith, bare = (ways[name] for name in (MAILROOM, MONOLITH, BARE))
    cpu, p50 = (monolith[name] / mailroom[name] for name in ("total_ms", "p50_ms"))
    print(f"{cpu:.1f} times less CPU and {p50:.1f} times less p50 than the monolith", end=", ")
    print(f"{mailroom['total_ms'] / bare['total_ms']:.1f} times the CPU of bare ASGI")
    small = sum(memory.values()) < CLAIM_MB and max(grown.values()) <= exports.LIMIT_MB
    return 0 if min(cpu, p50) >= CLAIM_TIMES and all(one.fits for one in found) and small else 1


if __name__ == "__main__":
    raise SystemExit(main())
