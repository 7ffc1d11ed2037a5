"""Share of its quota that one mailbox uses while it is copied, and units per message.

Both profiles, under fixed and sliding windows of the (sandbox) provider, with the real limits.
Prints JSON lines and a table; exits 1 if a goal is missed.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

GOAL_SHARE = 0.95
# In the profile of 2026-05, in which one get costs 20.
GOAL_UNITS_PER_MESSAGE = 20.0
LIMITS = {"2026-05": 6_000, "legacy": 15_000}
GETS = {"2026-05": 20, "legacy": 5}
# Multiple of the messages that the quota allows: whole threads are cheaper than gets.
_ENOUGH = 2


@dataclass(frozen=True)
class Use:
    """Measurements of one situation."""

    profile: str
    kind: str
    share: float
    rejected: int
    units_per_message: float

    @property
    def is_good(self) -> bool:
        """Whether the goals are met."""
        cheap = self.profile != "2026-05" or self.units_per_message < GOAL_UNITS_PER_MESSAGE
        return self.share >= GOAL_SHARE and self.rejected == 0 and cheap


def measure(stack: RunningStack, http: httpx.Client, *, profile: str, kind: str, window: float, windows: int) -> Use:
    """Copy a mailbox; measure after the first window, which begins with a burst."""
    provider = Provider(stack.sandbox_url)
    quota = {"quota_profile": profile, "quota_kind": kind, "quota_window": window}
    httpx.patch(f"{stack.sandbox_url}/_sandbox/gmail", json=quota, trust_env=False).raise_for_status()
    restart(stack, GMAIL_QUOTA_PROFILE=profile, GMAIL_QUOTA_WINDOW=str(window))
    person = Person.sign_in(
        http, provider.new_user(messages=_ENOUGH * (windows + 2) * LIMITS[profile] // GETS[profile])
    )
    sync = person.start_sync()
    time.sleep(window)
    before, began = spent(provider, person), time.monotonic()
    time.sleep(window * windows)
    after, seconds = spent(provider, person), time.monotonic() - began
    seen = person.get(f"/emails/syncs/{sync['id']}").json()
    assert seen["state"] == "running", f"the mailbox was too small: {seen}"
    assert seen["units_per_message"], "nothing was stored"
    person.delete(f"/emails/syncs/{sync['id']}")
    provider.close()
    share = (after["units"] - before["units"]) / (LIMITS[profile] * seconds / window)
    return Use(profile, kind, share, after["rejected"], seen["units_per_message"])


def restart(stack: RunningStack, **environment: str) -> None:
    """Restart the worker with these variables."""
    stack.stop("worker")
    stack.start("worker", **environment)


def spent(provider: Provider, person: Person) -> dict[str, int]:
    """Return the provider's own count for the mailbox."""
    users = provider.get("/calls")["quota"]["users"]
    return dict(users.get(person.email, {"units": 0, "rejected": 0}))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=float, default=60, help="seconds for which the limits count")
    parser.add_argument("--windows", type=int, default=1, help="how many of them are measured")
    parser.add_argument("--profiles", nargs="*", choices=list(LIMITS), default=list(LIMITS))
    given = parser.parse_args()
    uses = []
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-quota-")))
        stack = started.enter_context(running_stack(home, own_servers=True, SANDBOX_USERS="", LOG_LEVEL="WARNING"))
        http = started.enter_context(httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90))
        for profile in given.profiles:
            for kind in ("fixed", "sliding"):
                use = measure(stack, http, profile=profile, kind=kind, window=given.window, windows=given.windows)
                print(json.dumps(asdict(use)), flush=True)
                uses.append(use)
    print(f"{'profile':10} {'window':8} {'used':>6} {'rejected':>9} {'units/message':>14}")
    for use in uses:
        print(f"{use.profile:10} {use.kind:8} {use.share:6.1%} {use.rejected:9} {use.units_per_message:14.2f}")
    return int(not all(use.is_good for use in uses))


if __name__ == "__main__":
    sys.exit(main())
