"""Lines of failures that repeat are summed: in an outage each mailbox would log the same line."""

import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TextIO, override

# Lines of a kind that are written within a window; the rest is counted.
WRITTEN = 20
WINDOW_SECONDS = 60.0
# Fields by which kinds of lines with the same event differ.
_TELLING = ("error", "reason", "method", "task")
# Fields that tell why something failed: lines with one of them are summed at every level.
_CAUSES = frozenset({"error", "reason", "reasons"})


@dataclass(slots=True)
class _Window:
    ends_at: float
    lines: int = 0
    last: logging.LogRecord | None = None


class RepeatedLines:
    """Counts the lines of failures of each kind: warnings, errors, and those with a cause. All other lines pass."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[object, _Window] = {}
        self._sweep_at = clock() + WINDOW_SECONDS

    def take(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """Yield the lines to write: sums of windows that have ended, and this one unless it is summed."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + 1.0
            yield from self._sums(ended_before=now)
        if not _tells_of_failure(record):
            yield record
            return
        window = self._windows.setdefault(_kind(record), _Window(ends_at=now + WINDOW_SECONDS))
        window.lines += 1
        if window.lines <= WRITTEN:
            yield record
        else:
            window.last = record

    def rest(self) -> Iterator[logging.LogRecord]:
        """Yield the sums of all windows, at the end of the process."""
        return self._sums(ended_before=float("inf"))

    def _sums(self, *, ended_before: float) -> Iterator[logging.LogRecord]:
        for kind, window in list(self._windows.items()):
            if window.ends_at <= ended_before:
                del self._windows[kind]
                if window.last is not None:
                    yield _sum(window.last, lines=window.lines - WRITTEN)


class SummingHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, repeated ones as a sum."""

    def __init__(self, stream: TextIO, *, repeated: RepeatedLines | None = None) -> None:
        super().__init__(stream)
        self._repeated = repeated or RepeatedLines()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        for line in self._repeated.take(record):
            super().emit(line)

    @override
    def close(self) -> None:
        for line in self._repeated.rest():
            super().emit(line)
        super().close()


def _tells_of_failure(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or (isinstance(record.msg, dict) and not _CAUSES.isdisjoint(record.msg))


def _kind(record: logging.LogRecord) -> object:
    # structlog hands its fields over as the message.
    if not isinstance(record.msg, dict):
        return record.levelno, record.msg
    fields = record.msg
    raised = fields.get("exc_info")
    told = tuple(str(fields.get(name)) for name in _TELLING)
    return record.levelno, fields.get("event"), type(raised).__name__, told


def _sum(record: logging.LogRecord, *, lines: int) -> logging.LogRecord:
    """Return the last line of a window with the number of lines that were left out, itself included."""
    summed = copy.copy(record)
    if isinstance(record.msg, dict):
        summed.msg = {**record.msg, "repeated": lines}
    else:
        summed.msg, summed.args = f"{record.getMessage()} (repeated {lines} times)", ()
    return summed
