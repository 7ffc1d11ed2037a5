"""Skips of tests that need a peer: with MAILROOM_PEERS=required they are failures.

A peer whose source could not be reached (tests/peers/install.py says so loudly) is passed over in any case.
"""

import os
from collections.abc import Set
from pathlib import Path

import pytest

from tests.support.peers.installation import unreachable

_PASSED_OVER = "its source of packages cannot be reached: "


def require(program: Path | str | None, peer: str, *, source: str, passed_over: Set[str] | None = None) -> str:
    """Return the path of a peer's program, or skip the test.

    `source` is the source that has the peer; `passed_over` are those that could not be reached, by default the ones
    that the installation recorded.
    """
    if program is not None and Path(program).exists():
        return str(program)
    reason = f"{peer} is not installed (make test-peers)"
    is_passed_over = source in (unreachable() if passed_over is None else passed_over)
    pytest.skip(_PASSED_OVER + reason if is_passed_over else reason)


def fail_if_skipped(report: pytest.TestReport) -> None:
    """Turn a skip into a failure where peers are required."""
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("MAILROOM_PEERS") != "required":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if _PASSED_OVER not in reason:
        report.outcome = "failed"
        report.longrepr = f"{reason}, and MAILROOM_PEERS=required makes a skip a failure"
