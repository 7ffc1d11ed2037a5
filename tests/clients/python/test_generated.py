"""The synchronous client is the one that the asynchronous client makes."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "clients/python/generate_sync.py"


def test_the_synchronous_client_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
