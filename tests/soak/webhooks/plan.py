"""The size of a soak of webhooks, and the faults of its receiver."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.mail.webhook_receiver import HANG, RESET

# Seconds after which a receiver that hangs is given up.
TIMEOUT_SECONDS = 2
# Seconds for which a mailbox may wait: beside an event that is refused, and any other. A killed deliverer holds a lease
# for TIMEOUT_SECONDS + 5, and the next look is up to 10 s away.
MOST_WAIT_OF_REFUSED, MOST_WAIT = 300.0, 90.0
# How often the receiver does what.
FAULTS: Mapping[int, float] = {
    500: 0.008,
    503: 0.004,
    429: 0.002,
    408: 0.001,
    302: 0.003,
    RESET: 0.002,
    HANG: 0.0005,
}
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSoakPlan:
    """A soak with so many `changes` over all mailboxes, committed within about `seconds`, and kills meanwhile."""

    seed: int
    seconds: float
    changes: int
    mailboxes: int = 50
    deliverers: int = 3
    kills: int = 20
    postgres_kills: int = 2
    # Seconds for what waits at the end of the changes.
    patience: float = 600.0
