"""The short form of `make soak`. Mailboxes over IMAP take minutes to settle: `make soak` has them."""

import pytest

from tests.soak.plan import SoakPlan
from tests.soak.soak import soak

SHORT = SoakPlan(seed=5, seconds=20, mailboxes=6, messages=120, quota_window=10, calm=1)


# Its kills and faults stand one by one in tests/e2e and tests/mail/sync/test_crashes.py.
@pytest.mark.long
class TestShortSoak:
    def test_loses_and_duplicates_nothing_under_every_fault_and_kill(self) -> None:
        report = soak(SHORT)
        print(report.as_json())
        assert report.failures == {}
        assert report.verdict.messages > SHORT.mailboxes * SHORT.messages / 2
