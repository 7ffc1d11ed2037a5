"""Installs the peers: `python -m tests.peers.install`, the first half of `make test-peers`."""

import os
import sys
import time

from tests.support.peers.installation import InstallationError, install_all, record_unreachable, run_command, sources

_NOTICE = """
************************************************************************************************
  NOT TESTED: the peers from {name}. A package index cannot be reached; three tries failed.
************************************************************************************************
"""


def main() -> int:
    """Install every source; return 1 if one that was reached could not be installed."""
    try:
        missing = install_all(
            sources(is_root=os.geteuid() == 0),
            run=run_command,
            sleep=time.sleep,
            report=lambda name: sys.stderr.write(_NOTICE.format(name=name)),
        )
    except InstallationError as error:
        sys.stderr.write(f"the peers could not be installed:\n{error}\n")
        return 1
    record_unreachable(missing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
