"""Output of the stack: lines of all processes, each prefixed with the process's name."""

import os
from typing import TextIO

from deploy.local.logs import readable

_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)  # ANSI foreground colours that read well on dark and light
_RESET = "\x1b[0m"


class Console:
    """Writes prefixed lines; on a terminal readable ones, coloured unless NO_COLOR is set (no-color.org)."""

    def __init__(self, output: TextIO, *, width: int = 8) -> None:
        self._output = output
        self._width = width
        self._readable = output.isatty()
        self._coloured = self._readable and not os.environ.get("NO_COLOR")
        self._seen: dict[str, int] = {}

    def line(self, name: str, text: str) -> None:
        """Write one log line of the process `name`. Raises BrokenPipeError once when the reader has gone."""
        prefix = f"{name:<{self._width}} |"
        if self._coloured:
            colour = self._seen.setdefault(name, _COLOURS[len(self._seen) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}{_RESET}"
        for line in readable(text) if self._readable else (text,):
            self.plain(f"{prefix} {line}")

    def plain(self, text: str) -> None:
        """Write text unchanged. Raises BrokenPipeError once when the reader has gone."""
        try:
            self._output.write(f"{text}\n")
            self._output.flush()
        except BrokenPipeError:
            # Python's own buffer would fail again at exit (docs.python.org, "Note on SIGPIPE").
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._output.fileno())
            os.close(nowhere)
            raise
