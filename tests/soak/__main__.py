"""`make soak`: prints the seed first, then a JSON line and the failures; exits 1 for any failure."""

import argparse
import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.soak.plan import SoakPlan
from tests.soak.soak import soak

# Cases of each kind of failure that are printed.
_SHOWN: Final = 10


def main() -> int:
    """Run one soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--mailboxes", type=int, default=20)
    parser.add_argument("--imap-mailboxes", type=int, default=10, help="besides these, over IMAP")
    parser.add_argument("--messages", type=int, default=400, help="in each mailbox at the start")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--operations", type=float, default=10, help="changes at the provider per second")
    parser.add_argument("--window", type=float, default=60, help="seconds for which the provider's limits count")
    parser.add_argument("--logs", type=Path, default=Path("build/soak"), help="where logs go if it fails")
    given = parser.parse_args()
    plan = SoakPlan(
        seed=given.seed,
        seconds=given.seconds,
        mailboxes=given.mailboxes,
        imap_mailboxes=given.imap_mailboxes,
        messages=given.messages,
        workers=given.workers,
        operations=given.operations,
        quota_window=given.window,
    )
    print(f"seed {plan.seed}, {plan.seconds:.0f} s; repeat with: --seed {plan.seed}", flush=True)
    report = soak(plan, logs=given.logs)
    print(report.as_json())
    if report.failures:
        print(f"FAILED, logs in {given.logs}:", json.dumps(_shortened(report.failures), indent=2))
        return 1
    print(f"passed: {report.verdict.messages} messages equal, 0 lost, 0 duplicated, 0 ids changed, 0 calls over quota")
    return 0


def _shortened(failures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first cases of each kind, so that many of one hide no other."""
    return {
        kind: [*cases[:_SHOWN], f"and {len(cases) - _SHOWN} more"]
        if isinstance(cases, list) and len(cases) > _SHOWN
        else cases
        for kind, cases in failures.items()
    }


if __name__ == "__main__":
    sys.exit(main())
