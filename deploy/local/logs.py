"""The log files of the embedded servers."""

from pathlib import Path

_LARGEST = 16 * 1024 * 1024


def make_room(log: Path) -> None:
    """Rename a large log, replacing the one renamed before."""
    if log.exists() and log.stat().st_size > _LARGEST:
        log.replace(log.with_suffix(".log.1"))


def last_lines(log: Path, *, begin: int = 0) -> str:
    """Return the log from byte offset `begin` to its end as one line."""
    with log.open("rb") as file:
        file.seek(begin)
        return " ".join(file.read().decode(errors="replace").split())[-600:]
