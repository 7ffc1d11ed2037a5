"""Repeated lines of failures are summed, and every other line is written."""

import io
import json
import logging

import pytest

from services.kit.observe.repeated_lines import WINDOW_SECONDS, WRITTEN, RepeatedLines, SummingHandler


class Log:
    """A handler on a stream in memory, with a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self.handler = SummingHandler(self._stream, repeated=RepeatedLines(clock=lambda: self.now))
        self.handler.setFormatter(_Json())

    def write(self, level: int, message: object, *arguments: object, times: int = 1) -> None:
        """Log a message, as structlog hands it over or as the standard library does."""
        for _ in range(times):
            self.handler.handle(logging.LogRecord("test", level, "", 0, message, arguments, None))

    @property
    def lines(self) -> list[dict[str, object]]:
        """The written lines."""
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()})


@pytest.fixture
def log() -> Log:
    return Log()


def _failed(reason: str = "provider_unavailable", mailbox_id: int = 1) -> dict[str, object]:
    return {"event": "turn failed", "reason": reason, "mailbox_id": mailbox_id}


class TestRepeatedLines:
    def test_of_an_outage_fill_no_disk(self, log: Log) -> None:
        for mailbox_id in range(50_000):
            log.now = mailbox_id * WINDOW_SECONDS / 50_000
            log.write(logging.WARNING, _failed(mailbox_id=mailbox_id))
        log.now = WINDOW_SECONDS
        log.write(logging.WARNING, _failed(mailbox_id=50_000))
        written = log.lines
        assert len(written) == WRITTEN + 2
        assert written[-2] == _failed(mailbox_id=49_999) | {"repeated": 50_000 - WRITTEN}
        assert written[-1] == _failed(mailbox_id=50_000)

    def test_are_summed_by_kind(self, log: Log) -> None:
        for reason in ("provider_unavailable", "quota_unavailable"):
            log.write(logging.WARNING, _failed(reason), times=WRITTEN + 5)
        assert len(log.lines) == 2 * WRITTEN
        log.handler.close()
        assert [line["repeated"] for line in log.lines if "repeated" in line] == [5, 5]

    def test_of_the_standard_library_are_summed_too(self, log: Log) -> None:
        log.write(logging.ERROR, "lost %s", "x", times=WRITTEN + 3)
        log.handler.close()
        assert log.lines[-1] == {"event": "lost x (repeated 3 times)"}
        assert len(log.lines) == WRITTEN + 1

    def test_that_inform_are_all_written(self, log: Log) -> None:
        log.write(logging.INFO, {"event": "disconnected"}, times=10 * WRITTEN)
        assert len(log.lines) == 10 * WRITTEN

    @pytest.mark.parametrize(
        "cause", [{"error": "NoAnswerError"}, {"reason": "unavailable"}, {"reasons": ["unavailable"], "n": 3}]
    )
    def test_that_inform_of_a_failure_are_summed(self, log: Log, cause: dict[str, object]) -> None:
        for mailbox_id in range(WRITTEN + 7):
            log.write(logging.INFO, {"event": "idle check failed", "mailbox_id": mailbox_id, **cause})
        log.handler.close()
        assert len(log.lines) == WRITTEN + 1
        assert log.lines[-1]["repeated"] == 7

    def test_few_of_a_kind_have_no_sum(self, log: Log) -> None:
        log.write(logging.WARNING, _failed(), times=WRITTEN)
        log.handler.close()
        assert len(log.lines) == WRITTEN
