"""What clients have left of their rate limits, as headers of every response that was counted.

Source: draft-ietf-httpapi-ratelimit-headers-10, whose fields are lists of RFC 9651.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

# In the scope of a request.
_STANDINGS = "mailroom.standings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A client's standing in one rate limit: `quota` requests in `window` seconds, `remaining` for `seconds` more.

    Other gateways' counts are known as of the last portion: `remaining` can be a hundredth of the quota too high.
    """

    policy: str
    quota: int
    window: int
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """The seconds until the window ends. Its end is known to a second."""
        return min(math.ceil(self.seconds), self.window)


def standings_of(scope: Scope) -> list[Standing]:
    """Return the list to which the limits of a request add the client's standings."""
    standings: list[Standing] = scope.setdefault(_STANDINGS, [])
    return standings


def standing_headers(standings: Sequence[Standing]) -> list[tuple[bytes, bytes]]:
    """Return the headers RateLimit-Policy and RateLimit; none without a limit."""
    if not standings:
        return []
    policies = ", ".join(f'"{one.policy}";q={one.quota};w={one.window}' for one in standings)
    limits = ", ".join(f'"{one.policy}";r={one.remaining};t={one.whole_seconds}' for one in standings)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", limits.encode())]
