"""A provider whose history a test writes itself."""

from collections.abc import Callable

from services.mail.model import HistoryDelta, Label
from services.mail.providers.base import HistoryPage, Profile
from services.mail.providers.errors import ProviderError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.labels import SYSTEM_LABELS
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
    """A mailbox whose history is these pages, one after the other; errors are raised. `present` is its present cursor.

    `labels` are what it lists when it is asked for labels, `asked` the cursors and page tokens that it was asked for.
    """

    def __init__(
        self,
        *pages: HistoryPage | ProviderError,
        present: int = 10,
        labels: Callable[[], list[Label] | None] = lambda: [*SYSTEM_LABELS],
    ) -> None:
        self.costs = GMAIL_COSTS["2026-05"]
        self.page_size = 500
        self.watch_times = None
        self.asked: list[tuple[int, str | None]] = []
        self._pages = [*pages]
        self._present = present
        self._labels = labels

    async def profile(self, access_token: str) -> Profile:
        """The present."""
        del access_token
        return Profile(cursor=self._present)

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """The next page."""
        del access_token
        self.asked.append((cursor, page_token))
        page = self._pages.pop(0)
        if isinstance(page, ProviderError):
            raise page
        return page

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """The labels."""
        del access_token
        return self._labels()
