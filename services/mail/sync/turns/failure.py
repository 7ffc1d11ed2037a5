"""What the error that ended a turn means: the turn's outcome, and what the mailbox waits for."""

from dataclasses import dataclass

from services.kit.errors import AppError
from services.mail.model import WaitReason
from services.mail.provider_access.outages import ProviderOutError
from services.mail.provider_access.quota import QuotaUnavailableError
from services.mail.providers.errors import ProviderError
from services.mail.store.connection import DATABASE_LOST
from services.mail.sync.accounts.access import ACCESS_DENIED, denial_of
from services.mail.sync.turn_steps import NoProgressError
from services.mail.sync.turns.lease_renewal import TurnTimeoutError
from services.mail.sync.turns.metrics import INTERNAL

# Seconds until a mailbox asks again whose turn came while another one was asking whether an outage is over.
_OUTAGE_SECONDS = 10.0
# Auth's reasons when there is no grant any more.
_ENDS_OF_ACCESS = ("reauth_required", "account_not_found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A turn that failed. `outcome` is the reason that metrics and the active sync show."""

    outcome: str
    waiting_for: WaitReason
    # Why the provider denies access (accounts/access.py); None if it does not.
    denial: str | None = None
    # Seconds until the next turn, at least.
    pause: float = 0.0
    # Whether the turn has called anyone.
    is_attempt: bool = True

    @property
    def ends_access(self) -> bool:
        """Whether there is no grant any more."""
        return self.waiting_for is WaitReason.ACCESS and self.denial is None


def failure_of(error: Exception) -> Failure:
    """Return what an error means, except for the loss of the lease, which is no failure."""
    if (denial := denial_of(error)) is not None:
        return Failure(outcome=ACCESS_DENIED, waiting_for=WaitReason.ACCESS, denial=denial)
    match error:
        case AppError() if error.reason in _ENDS_OF_ACCESS:
            return Failure(outcome=error.reason, waiting_for=WaitReason.ACCESS)
        case AppError():
            return Failure(outcome=error.reason, waiting_for=WaitReason.MAILROOM)
        case ProviderOutError():
            return Failure(
                outcome=error.reason, waiting_for=WaitReason.PROVIDER, pause=_OUTAGE_SECONDS, is_attempt=False
            )
        case ProviderError():
            return Failure(outcome=error.reason, waiting_for=WaitReason.PROVIDER)
        case TurnTimeoutError():
            return Failure(outcome="turn_timeout", waiting_for=WaitReason.PROVIDER)
        case QuotaUnavailableError():
            return Failure(outcome="quota_unavailable", waiting_for=WaitReason.QUOTA_SERVICE)
        case NoProgressError():
            return Failure(outcome="no_progress", waiting_for=WaitReason.QUOTA, pause=error.seconds)
    outcome = "database_unavailable" if isinstance(error, DATABASE_LOST) else INTERNAL
    return Failure(outcome=outcome, waiting_for=WaitReason.MAILROOM)
