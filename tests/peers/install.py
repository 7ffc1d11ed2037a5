"""Installs the peers: `python -m tests.peers.install`, the first half of `make test-peers`."""

import os
import sys
import time

from tests.support.peers.installation import InstallationError, install, record_unreachable, run_command, sources

_NOTICE = """
************************************************************************************************
  NOT TESTED: the peers from {name}. Its package index cannot be reached; three tries failed.
************************************************************************************************
"""


def main() -> int:
    """Install every source; return 1 if one that was reached could not be installed."""
    missing = []
    for source in sources(is_root=os.geteuid() == 0):
        try:
            reached = install(source, run=run_command, sleep=time.sleep)
        except InstallationError as error:
            sys.stderr.write(f"the peers from {source.name} could not be installed:\n{error}\n")
            return 1
        if not reached:
            sys.stderr.write(_NOTICE.format(name=source.name))
            missing.append(source.name)
    record_unreachable(missing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
