"""Memory of the stack's processes."""

from pathlib import Path

from benchmarks.process_cpu import children


def proportional_mb(pid: int) -> float:
    """Return MB of a process with its children; shared pages count once (Pss in proc_pid_smaps_rollup(5))."""
    return sum(_pss(number) for number in (pid, *children(pid))) / 1024


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
