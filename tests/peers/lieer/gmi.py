"""lieer's command `gmi` at a sandbox: the same program, with Google's addresses replaced when it starts.

`SANDBOX_URL` is the sandbox. Runs under the interpreter of .venv-peers.
"""

import os
from functools import partialmethod
from typing import Any

from google_auth_oauthlib.flow import InstalledAppFlow
from googleapiclient.discovery import build
from lieer import Gmailieer, remote


def build_at_sandbox(name: str, version: str, **options: Any) -> Any:
    """Build a client as `googleapiclient.discovery.build` does, from the document that the sandbox serves."""
    address = os.environ["SANDBOX_URL"] + "/$discovery/rest?version={apiVersion}"
    return build(name, version, discoveryServiceUrl=address, static_discovery=False, **options)


def main() -> None:
    """Run the command line."""
    remote.discovery.build = build_at_sandbox
    # A free port instead of 8080 for the redirect after consent.
    InstalledAppFlow.run_local_server = partialmethod(InstalledAppFlow.run_local_server, port=0)
    Gmailieer().main()


if __name__ == "__main__":
    main()
