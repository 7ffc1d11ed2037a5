"""What the command ends with. Stable: scripts depend on them."""

from typing import Final

FAILED: Final = 1
# 2 is for wrong arguments.
NOT_AUTHORIZED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
RESYNC_REQUIRED: Final = 6
TOO_MANY_REQUESTS: Final = 7
INTERRUPTED: Final = 130
