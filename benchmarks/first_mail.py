"""First mail: seconds from the request for the newest 100 of a new mailbox until all of them can be read.

The (sandbox) provider has its usual quota and takes 150 ms for each call, of which a mailbox may have ten at a time.
Ten mailboxes one after the other, then ten more right after Redis has lost everything. Prints JSON lines and a table;
exits 1 if a goal is missed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import redis

from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

GOAL_P50 = 3.0
NEWEST = 100
# Seconds.
LATENCY = 0.15
_LOOK_SECONDS = 0.02
_PATIENCE = 60.0
_METHODS = ("gmail.*", "batch")


def readable_after(http: httpx.Client, provider: Provider, *, messages: int) -> float:
    """Connect a new mailbox and ask for its newest messages; return the seconds until the last of them is listed."""
    email = provider.new_user(messages=messages)
    newest = {message.id for message in provider.truth(email, all_labels=False)[:NEWEST]}
    person = Person.sign_in(http, email)
    began = time.monotonic()
    person.start_sync(NEWEST)
    while newest - {listed["external_id"] for listed in person.emails(limit=200)}:
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(f"the newest {NEWEST} messages were not readable after {_PATIENCE} s")
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - began


def lose_redis(stack: RunningStack) -> None:
    """Empty Redis, as after a loss of its disk."""
    with redis.Redis(
        host=stack.variables["REDIS_HOST"],
        port=int(stack.variables["REDIS_PORT"]),
        password=stack.variables.get("REDIS_PASSWORD"),
    ) as client:
        client.flushall()


def measure(
    stack: RunningStack, http: httpx.Client, provider: Provider, *, mailboxes: int, messages: int
) -> dict[str, list[float]]:
    """Return the seconds of all mailboxes by situation."""
    seconds = {"usual": [readable_after(http, provider, messages=messages) for _ in range(mailboxes)]}
    lose_redis(stack)
    seconds["fresh Redis"] = [readable_after(http, provider, messages=messages) for _ in range(mailboxes)]
    return seconds


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=10)
    parser.add_argument("--messages", type=int, default=400, help="in each of them")
    given = parser.parse_args()
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-first-")))
        stack = started.enter_context(running_stack(home, own_servers=True, SANDBOX_USERS="", LOG_LEVEL="WARNING"))
        http = started.enter_context(httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90))
        provider = Provider(stack.sandbox_url)
        started.callback(provider.close)
        provider.plan_faults(*({"method": method, "kind": "slow", "seconds": LATENCY} for method in _METHODS))
        seconds = measure(stack, http, provider, mailboxes=given.mailboxes, messages=given.messages)
        calls = provider.get("/calls")["quota"]["users"].values()
        rejected = sum(user["rejected"] for user in calls)
    medians = {situation: statistics.median(found) for situation, found in seconds.items()}
    for situation, found in seconds.items():
        figures = {"p50": medians[situation], "max": max(found)}
        print(json.dumps({"situation": situation, **{name: round(value, 3) for name, value in figures.items()}}))
        print(f"  {situation:12} n {len(found):3}  p50 {figures['p50']:6.3f} s  max {figures['max']:6.3f} s")
    print(f"  rejected by the provider: {rejected}")
    return int(max(medians.values()) > GOAL_P50 or rejected > 0)


if __name__ == "__main__":
    sys.exit(main())
