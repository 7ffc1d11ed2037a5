"""Outages of whole providers: unanswered calls would take the slots of other providers' mailboxes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from services.mail.providers.errors import ProviderUnavailableError

# Mailboxes whose calls fail one after the other. Fewer can have failures of their own.
_MAILBOXES: Final = 3
# Seconds without a failure after which an outage is over: longer than a turn and the pause after it.
_LASTS: Final = 300.0
# Seconds after which a cancelled block has waited for the provider. Leases are lost sooner, for other reasons.
_WAITED: Final = 60.0

log = structlog.get_logger()


class ProviderOutError(ProviderUnavailableError):
    """No call was made, since the provider answers no mailbox."""


class ProviderOutages:
    """Notices outages by what turns and looks of this process meet: several mailboxes fail, and none is answered.

    During an outage two mailboxes of the provider at a time ask whether it is over: one that has failed before, and one
    that has not. Some mailboxes can be silent while others are answered, and must not keep these from asking.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # The mailboxes that failed since an answer, no more than decide, and the time of the last failure.
        self._failed: dict[str, set[int]] = {}
        self._failed_at: dict[str, float] = {}
        # The providers that are asked, by a mailbox that has failed before or by another.
        self._asked: set[tuple[str, bool]] = set()

    def is_under_way(self, provider: str) -> bool:
        """Return whether the provider answers no mailbox."""
        if len(self._failed.get(provider, ())) < _MAILBOXES:
            return False
        return self._monotonic() - self._failed_at[provider] < _LASTS

    def may_ask(self, provider: str, *, has_failed: bool = False) -> bool:
        """Return whether a mailbox can ask now; `has_failed` says that its last calls failed."""
        return not self.is_under_way(provider) or (provider, has_failed) not in self._asked

    @contextmanager
    def asking(self, provider: str, mailbox_id: int, *, has_failed: bool = False) -> Iterator[None]:
        """Note a failure of the calls in the block. Raises ProviderOutError if another mailbox asks already."""
        if not self.may_ask(provider, has_failed=has_failed):
            raise ProviderOutError("the provider answers no mailbox")
        is_probe, place, began = self.is_under_way(provider), (provider, has_failed), self._monotonic()
        if is_probe:
            self._asked.add(place)
        try:
            yield
        except ProviderUnavailableError:
            self._note_failure(provider, mailbox_id)
            raise
        except asyncio.CancelledError:
            if self._monotonic() - began >= _WAITED:
                self._note_failure(provider, mailbox_id)
            raise
        finally:
            if is_probe:
                self._asked.discard(place)

    def answered(self, provider: str) -> None:
        """Note that the provider has answered."""
        if self.is_under_way(provider):
            log.info("a provider answers again", provider=provider)
        self._failed.pop(provider, None)

    def _note_failure(self, provider: str, mailbox_id: int) -> None:
        was_out, now = self.is_under_way(provider), self._monotonic()
        if now - self._failed_at.get(provider, now) >= _LASTS:
            self._failed.pop(provider, None)
        failed = self._failed.setdefault(provider, set())
        if len(failed) < _MAILBOXES:
            failed.add(mailbox_id)
        self._failed_at[provider] = now
        if not was_out and self.is_under_way(provider):
            log.warning("a provider answers no mailbox", provider=provider)
