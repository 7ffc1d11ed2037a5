"""The log files of the stack, and their lines in a form for people."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

_LARGEST = 16 * 1024 * 1024
# What the prefix of the line says already, or what only machines read.
_LEFT_OUT = frozenset({"event", "level", "timestamp", "service", "logger", "exception", "trace_id"})


def make_room(log: Path) -> None:
    """Rename a large log, replacing the one renamed before."""
    if log.exists() and log.stat().st_size > _LARGEST:
        log.replace(log.with_suffix(".log.1"))


def last_lines(log: Path, *, begin: int = 0) -> str:
    """Return the log from byte offset `begin` to its end as one line."""
    with log.open("rb") as file:
        file.seek(begin)
        return " ".join(file.read().decode(errors="replace").split())[-600:]


class ProcessLogs:
    """A log file per process in `directory`, each with at most one predecessor."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, line: str) -> None:
        """Append a line to the log of the process `name`. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / f"{name}.log"
        make_room(log)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def readable(line: str) -> Iterator[str]:
    """Yield a structured log line as people read it, its traceback in lines of its own; other lines as they are."""
    entry = _entry(line)
    if entry is None:
        yield line
        return
    values = " ".join(f"{name}={_shown(value)}" for name, value in entry.items() if name not in _LEFT_OUT)
    time = datetime.fromisoformat(entry["timestamp"]).astimezone().strftime("%H:%M:%S")
    yield f"{time} {entry['level']:<7} {entry['event']}{'  ' if values else ''}{values}"
    yield from str(entry.get("exception", "")).splitlines()


def _entry(line: str) -> Mapping[str, Any] | None:
    try:
        entry = json.loads(line)
        datetime.fromisoformat(entry["timestamp"])
    except (ValueError, TypeError, KeyError):
        return None
    return entry if {"level", "event"} <= entry.keys() else None


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
