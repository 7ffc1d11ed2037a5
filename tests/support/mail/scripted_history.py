"""A provider whose history a test writes itself."""

from collections.abc import Callable

from services.mail.model import HistoryDelta, Label
from services.mail.providers.base import HistoryPage
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.fields import SYSTEM_LABELS
from services.mail.providers.gmail.limits import GMAIL_COSTS


def page(changes: HistoryDelta, *, last_record: int, latest: int | None = None, following: bool = False) -> HistoryPage:
    """A page of history; `following`: there is another one."""
    return HistoryPage(
        changes=changes,
        last_record=last_record,
        latest=last_record if latest is None else latest,
        next_page_token=str(last_record) if following else None,
    )


class ScriptedHistory(GmailProvider):
    """Answers with these pages, one after the other. `labels` are what it lists when it is asked for labels."""

    def __init__(
        self, *pages: HistoryPage, labels: Callable[[], list[Label] | None] = lambda: [*SYSTEM_LABELS]
    ) -> None:
        self.costs = GMAIL_COSTS["2026-05"]
        self.page_size = 500
        self.can_push = False
        self._pages = [*pages]
        self._labels = labels
        self.cursors: list[int] = []

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """The next page."""
        del access_token, page_token
        self.cursors.append(cursor)
        return self._pages.pop(0)

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """The labels."""
        del access_token
        return self._labels()
