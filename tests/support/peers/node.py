"""Node with the packages of tests/peers/package-lock.json."""

import json
import os
import shutil
import subprocess
from typing import Any

from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.peers.installation import FOLDER
from tests.support.peers.skips import require

_SECONDS = 120


def run_node(script: str, *, sandbox: str, email: str) -> Any:
    """Run a script of tests/peers/node for one user of a sandbox. Returns the JSON that it prints."""
    given = {"sandbox": sandbox, "email": email, "clientId": DEV_CLIENT_ID, "clientSecret": DEV_CLIENT_SECRET}
    return run_script(script, given)


def run_script(script: str, given: object) -> Any:
    """Run a script of tests/peers/node with an argument in JSON. Returns the JSON that it prints."""
    node = require(shutil.which("node"), "Node", source="debian")
    require(FOLDER / "node_modules/.installed", "the packages of npm", source="npm")
    done = subprocess.run(
        [node, f"node/{script}.mjs", json.dumps(given)],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
