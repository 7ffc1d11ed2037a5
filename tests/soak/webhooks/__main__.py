"""`make webhook-soak`: prints the seed first, then a JSON line and the failures; exits 1 for any failure."""

import argparse
import secrets
import sys
from pathlib import Path

from tests.soak.webhooks.plan import WebhookSoakPlan
from tests.soak.webhooks.soak import soak


def main() -> int:
    """Run one soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=240, help="in which the changes are committed")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--mailboxes", type=int, default=50)
    parser.add_argument("--deliverers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20, help="of deliverers")
    parser.add_argument("--logs", type=Path, default=Path("build/webhook-soak"), help="where logs go if it fails")
    given = parser.parse_args()
    plan = WebhookSoakPlan(
        seed=given.seed,
        seconds=given.seconds,
        changes=given.changes,
        mailboxes=given.mailboxes,
        deliverers=given.deliverers,
        kills=given.kills,
    )
    print(f"seed {plan.seed}, {plan.changes} changes; repeat with: --seed {plan.seed}", flush=True)
    report = soak(plan, logs=given.logs)
    print(report.as_json())
    if report.failures:
        print(f"FAILED, logs in {given.logs}:", *report.failures[:50], sep="\n")
        return 1
    print(f"passed: {report.taken} events taken, 0 lost, 0 out of order, {report.repeated} repeated with their ids")
    return 0


if __name__ == "__main__":
    sys.exit(main())
