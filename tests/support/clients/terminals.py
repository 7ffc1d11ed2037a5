"""A terminal in which a command runs, and its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pyte

# Seconds until a screen must be there, on a machine with other work.
_PATIENCE = 60.0


class Terminal:
    """A screen, and the process that draws on it."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, *, screen: pyte.Screen) -> None:
        self.screen = screen
        self._stream = pyte.ByteStream(self.screen)
        self._process = process
        self._fd = fd

    @property
    def lines(self) -> list[str]:
        """The lines of the screen up to the last one that is not empty."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n").split("\n")

    @property
    def colours(self) -> set[str]:
        """The colours of texts on the screen."""
        return {char.fg for line in self.screen.buffer.values() for char in line.values()}

    def press(self, keys: bytes) -> None:
        """Type; b"\x03" is Ctrl-C."""
        os.write(self._fd, keys)

    def until(self, shows: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines of the first screen that `shows` accepts."""
        deadline = time.monotonic() + _PATIENCE
        while not shows(self.lines):
            assert self._read(deadline), "\n".join(self.lines)
        return self.lines

    def end(self) -> int:
        """Read to the end; return the exit code of the command."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Draw what the command writes next; return False at its end, and where it writes nothing in time."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            written = os.read(self._fd, 4096) if ready else b""
        except OSError:  # its end, as Linux tells it
            return False
        self._stream.feed(written)
        return bool(written)


def _enter_foreground() -> None:
    """Let Ctrl-C reach the process, also where the tests run in the background of a shell, which ignores it there."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def terminal(
    *arguments: str, environment: Mapping[str, str], columns: int = 80, screen: pyte.Screen | None = None
) -> Iterator[Terminal]:
    """Run `mailroom` with arguments in a terminal; on a screen that has text already it goes on below."""
    screen = screen or pyte.Screen(columns, 24)
    fd, inner = pty.openpty()
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", screen.lines, screen.columns, 0, 0))
    base = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mailroom_cli", *arguments],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**base, **environment},
        start_new_session=True,
        preexec_fn=_enter_foreground,
    )
    os.close(inner)
    try:
        yield Terminal(process, fd, screen=screen)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(fd)
