"""A service to supervise: `fake_service.py NAME PORT [deaf] [parent] [broken]`, ready on /readyz.

`deaf` ignores SIGTERM, `parent` starts a child process, `broken` ends before it is ready with exit code 3.
"""

import http.server
import os
import signal
import subprocess
import sys
from types import FrameType


class _Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: the test reads this process's output."""


def _stop(number: int, _: FrameType | None) -> None:
    print(f"got {signal.Signals(number).name}", flush=True)
    os._exit(0)


def main(name: str, port: int, behaviour: set[str]) -> None:
    """Serve until a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in behaviour else _stop)
    if "parent" in behaviour:
        with subprocess.Popen(["/bin/sleep", "600"]) as child:
            print(f"child {child.pid}", flush=True)
            _serve(name, port)
    if "broken" in behaviour:
        print("cannot start", flush=True)
        sys.exit(3)
    _serve(name, port)


def _serve(name: str, port: int) -> None:
    print(f"{name} is {os.getpid()}", flush=True)
    http.server.HTTPServer(("127.0.0.1", port), _Ready).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), set(sys.argv[3:]))
