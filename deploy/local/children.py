"""Child processes that end with the process that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


type Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class User:
    """An operating system user, by number."""

    uid: int
    gid: int


def die_with_parent(signal_number: signal.Signals) -> Callable[[], None] | None:
    """Return a `preexec_fn` that lets the kernel send `signal_number` when the parent's thread ends (prctl(2)).

    None outside of Linux, which alone has this: there the next start finds and stops leftover processes.
    It must run after the change of user, which clears the setting; `preexec_fn` does.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork: a child of threads must not load libraries
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def spawn(
    command: Command,
    *,
    environment: Mapping[str, str],
    log: Path,
    user: User | None = None,
    orphan_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, with its output appended to `log`.

    As `user` if given (only root can), in the root directory: the caller's working directory may be unreadable to that
    user. `orphan_signal` reaches the process when this process dies.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603  # the command is ours
            [str(part) for part in command],
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent(orphan_signal),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )


def run(
    command: Command, *, environment: Mapping[str, str], user: User | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command. Returns its exit code and output; never raises for the exit code."""
    return subprocess.run(  # noqa: S603  # the command is ours
        [str(part) for part in command],
        env=dict(environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGKILL),
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def stop(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn until the process ends, waiting the given seconds after each; SIGKILL is the last.

    An interrupt (a second Ctrl-C) kills at once.
    """
    try:
        for signal_number, patience in signals:
            if process.poll() is not None:
                return
            process.send_signal(signal_number)
            try:
                process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def stop_leftover(pid: int, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Stop a process that is not a child of this one, which a killed stack left running, in the same way."""
    for signal_number, patience in (*signals, (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not command_line(pid):
                return
            time.sleep(0.02)


def command_line(pid: int) -> str:
    """Return the command line of a process; empty for a missing process or a zombie."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    answer = run(["/bin/ps", "-o", "command=", "-p", str(pid)], environment={})
    return answer.stdout.strip()
