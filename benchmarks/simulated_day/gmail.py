"""The simulated provider: mailboxes with history, and what is asked about them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from services.mail.model import HistoryDelta, Label
from services.mail.providers.base import HistoryPage, Profile
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.limits import GMAIL_COSTS, WATCH_TIMES

LABELS: Final = [Label(label_id="INBOX", name="INBOX", type="system")]


@dataclass(slots=True)
class Box:
    """A mailbox at the provider: its history id, and when messages came that Mailroom does not have."""

    per_day: float
    history: int = 1
    unread: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Units:
    """Units by what they are for, and checks."""

    checks: int = 0
    idle: int = 0
    mail: int = 0
    watches: int = 0


class SimulatedGmail(GmailProvider):
    """Answers idle checks from the simulated mailboxes. Its access tokens are the ids of the accounts."""

    def __init__(self, boxes: dict[UUID, Box], units: Units, *, can_push: bool) -> None:
        self.costs = GMAIL_COSTS["2026-05"]
        self.watch_times = WATCH_TIMES if can_push else None
        self._boxes = boxes
        self._units = units

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:  # noqa: ARG002 - the port's
        """Return whether anything happened since the cursor."""
        self._units.checks += 1
        self._units.idle += self.costs.list_changes
        latest = self._boxes[UUID(access_token)].history
        return HistoryPage(
            changes=HistoryDelta(),
            next_page_token=None,
            last_record=latest if latest > cursor else None,
            latest=latest,
        )

    async def list_labels(self, access_token: str) -> list[Label] | None:  # noqa: ARG002 - the port's
        """Return the same labels for all."""
        self._units.idle += self.costs.list_labels
        return LABELS

    async def profile(self, access_token: str) -> Profile:  # noqa: ARG002 - the port's
        """Return no address: none is renamed."""
        self._units.idle += self.costs.profile
        return Profile()

    async def access_token(
        self,
        account_id: UUID,
        user_id: UUID,  # noqa: ARG002 - the port's
        *,
        refused_fingerprint: str = "",  # noqa: ARG002 - the port's
    ) -> tuple[str, datetime]:
        """Stand in for auth."""
        return str(account_id), datetime.now(UTC) + timedelta(days=3650)
