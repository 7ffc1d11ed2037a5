"""Cost of a synced message over IMAP, against Gmail's: CPU of the worker and of Postgres, full-text index included.

Mailboxes with the same mail are copied in turn from the sandbox's Gmail and from both of its IMAP servers: one like
Yandex's, without extensions, and one with those that a modern server has. Values are medians. Claim: a message costs
at most 1.5 times as much over IMAP; the goal is 1.2 times.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.sync_ways.stage import Stage, open_stage
from tests.support.e2e.modern_server import NAME as MODERN

CLAIM_TIMES: Final = 1.5
GMAIL: Final = "google"
_PROVIDERS: Final = (GMAIL, "yandex", MODERN)

type Line = dict[str, Any]


def main() -> int:
    """Copy mailboxes of all providers in turn; 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="per mailbox")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with open_stage(more_workers=0) as stage:
        for number, provider in enumerate(_PROVIDERS):  # all processes are warm
            copy(stage, provider, messages=options.messages, seed=900 + number)
        lines = [
            _line(provider, turn, copy(stage, provider, messages=options.messages, seed=turn), options.messages)
            for turn in range(options.rounds)
            for provider in _PROVIDERS
        ]
    return _report(lines)


def copy(stage: Stage, provider: str, *, messages: int, seed: int) -> dict[str, float]:
    """Copy a mailbox; return CPU seconds of worker and Postgres, and the seconds that it took."""
    person = stage.person(messages=messages, seed=seed, provider=provider)
    began, cpu, server = time.perf_counter(), stage.cpu("worker"), stage.postgres_cpu()
    person.sync("all")
    seconds = time.perf_counter() - began
    stage.finish_index()
    figures = {"worker": stage.cpu("worker") - cpu, "postgres": stage.postgres_cpu() - server, "seconds": seconds}
    stage.assert_stored(person, messages)
    return figures


def _line(provider: str, turn: int, figures: dict[str, float], messages: int) -> Line:
    line = {
        "provider": provider,
        "round": turn,
        "worker_ms": round(figures["worker"] * 1000 / messages, 3),
        "postgres_ms": round(figures["postgres"] * 1000 / messages, 3),
        "messages_per_second": round(messages / figures["seconds"]),
    }
    print(json.dumps(line), flush=True)
    return line


def _report(lines: Sequence[Line]) -> int:
    total: dict[str, float] = {}
    print(f"\n{'CPU ms per message':<22}{'worker':>9}{'Postgres':>10}{'total':>9}{'times':>8}")
    for provider in _PROVIDERS:
        own = [line for line in lines if line["provider"] == provider]
        worker, server = (statistics.median(line[name] for line in own) for name in ("worker_ms", "postgres_ms"))
        total[provider] = statistics.median(line["worker_ms"] + line["postgres_ms"] for line in own)
        times = total[provider] / total[GMAIL]
        print(f"{provider:<22}{worker:>9.3f}{server:>10.3f}{total[provider]:>9.3f}{times:>8.2f}")
    return int(max(total.values()) > CLAIM_TIMES * total[GMAIL])


if __name__ == "__main__":
    raise SystemExit(main())
