"""The `Prefer` header (RFC 7240)."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request

MAX_WAIT_SECONDS = 60
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE | re.ASCII)


async def _wait_seconds(
    request: Request,
    prefer: Annotated[  # noqa: ARG001 - documents the header, which may come several times
        str, Header(description="`wait=N`: answer after at most N seconds, 60 at most", examples=["wait=30"])
    ] = "",
) -> int:
    """Return the seconds of `Prefer: wait=N`, at most 60; 0 if absent or malformed, as the RFC requires."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        # Parameters of the preference follow a semicolon.
        if match := _WAIT.fullmatch(preference.split(";")[0].strip()):
            return min(int(match[1]), MAX_WAIT_SECONDS)
    return 0


def applied(wait_seconds: int) -> dict[str, str]:
    """Return the header that confirms the applied preference."""
    return {"Preference-Applied": f"wait={wait_seconds}"} if wait_seconds else {}


WaitSeconds = Annotated[int, Depends(_wait_seconds)]
