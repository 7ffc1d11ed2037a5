"""CPU time of processes and of the machine, from /proc."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and its children, ended ones included.

    Postgres is the started process and one child per connection; ended ones count with their parent.
    """
    own = _times(pid)
    return 0.0 if own is None else own + sum(_own_times(child) for child in children(pid))


def thread_seconds(pid: int) -> float:
    """Return the CPU time of a process of one thread to the nanosecond, such as that of a connection to Postgres."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def command(pid: int) -> str:
    """Return the command line of a process, which Postgres replaces by a title; empty for an ended process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def machine_seconds() -> float:
    """Return the CPU time of the machine since boot, over all cores; see proc_stat(5)."""
    times = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(times) - times[3] - times[4]) / _TICKS


def _times(pid: int) -> float | None:
    fields = _fields(pid)
    return None if fields is None else sum(int(field) for field in fields[11:15]) / _TICKS


def _own_times(pid: int) -> float:
    fields = _fields(pid)
    return 0.0 if fields is None else sum(int(field) for field in fields[11:13]) / _TICKS


def _fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on (proc_pid_stat(5)); None for an ended process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def children(pid: int) -> list[int]:
    """Return the running child processes of a process."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [number for number in numbers if (fields := _fields(number)) is not None and int(fields[1]) == pid]
