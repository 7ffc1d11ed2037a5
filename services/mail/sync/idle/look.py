"""A look at one idle mailbox: a small call to its provider, after which it is due for a turn if something changed."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.kit.errors import AppError
from services.mail.model import Label, Mailbox
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.outages import ProviderOutages, ProviderOutError
from services.mail.providers.base import HistoryPage, Profile, Provider
from services.mail.providers.errors import ProviderError
from services.mail.store import labels
from services.mail.store.connection import Pool
from services.mail.store.control import idle_mailboxes, mailbox_addresses
from services.mail.store.control.idle_mailboxes import IdleMailbox
from services.mail.sync.idle.metrics import IdleMetrics, Outcome

# Seconds of a look, at most: a server that sends a byte now and then would keep it, and its slot, for ever.
LONGEST_LOOK = 240.0
AFTER_OUTAGE = 60.0
"""Seconds until a mailbox is looked at again whose answer is late, or whose provider answers none."""
# Seconds until a mailbox is looked at again whose history has just been announced.
_LEAST_LAG = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look to make: at the history, and at labels or address. `announced` changes are no surprise."""

    member: IdleMailbox
    announced: bool
    with_labels: bool = False
    with_address: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a look shows; None for what was not asked for, or does not exist there."""

    page: HistoryPage
    labels: list[Label] | None
    profile: Profile | None


class Looker:
    """Looks at idle mailboxes, one with each call. The units of the provider's calls have been taken before."""

    def __init__(
        self,
        *,
        pool: Pool,
        providers: Mapping[str, Provider],
        access: ProviderAccess,
        metrics: IdleMetrics,
        outages: ProviderOutages,
        longest_look: float,
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._access = access
        self._metrics = metrics
        self._outages = outages
        self._longest_look = longest_look

    def units(self, look: Look) -> int:
        """Return the units that a look takes."""
        costs = self._providers[look.member.mailbox.provider].costs
        return costs.list_changes + look.with_labels * costs.list_labels + look.with_address * costs.profile

    async def look(self, look: Look) -> None:
        """Ask the provider, and wake the mailbox if something has changed or it does not answer."""
        mailbox_id = look.member.mailbox.mailbox_id
        try:
            async with asyncio.timeout(self._longest_look):
                with self._outages.asking(look.member.mailbox.provider, mailbox_id):
                    answer = await self._ask_provider(look)
        except ProviderOutError:
            await self._let_others_ask(look)
            return
        except (ProviderError, AppError, TimeoutError) as error:
            # A turn of its own meets the error again and deals with it.
            log.info("idle check failed", mailbox_id=mailbox_id, error=type(error).__name__)
            self._metrics.looked(Outcome.FAILED)
            await self.wake([mailbox_id])
            return
        self._outages.answered(look.member.mailbox.provider)
        page = answer.page
        changed = page.last_record is not None or page.next_page_token is not None or page.latest > look.member.cursor
        relabelled = answer.labels is not None and await self._are_other_labels(mailbox_id, answer.labels)
        renamed = answer.profile is not None and await self._is_other_address(look.member.mailbox, answer.profile)
        is_new = changed or relabelled or renamed
        self._metrics.looked(Outcome.CHANGED if is_new else Outcome.UNCHANGED)
        if is_new:
            await self.wake([mailbox_id], changed=True, missed=changed and not look.announced)
        elif page.needs_turn:
            await self.wake([mailbox_id])
        else:
            await self._look_again_if_it_lags(look.member)

    async def _let_others_ask(self, look: Look) -> None:
        """Give the units of a look back, and look later: another mailbox asks whether the provider's outage is over."""
        mailbox = look.member.mailbox
        quota = self._access.quotas[mailbox.provider]
        if (taken := quota.claim(mailbox.identity)) is not None:
            quota.give_back(taken)
        async with self._pool.acquire() as connection:
            await idle_mailboxes.look_again(connection, [mailbox.mailbox_id], seconds=AFTER_OUTAGE)

    async def _look_again_if_it_lags(self, member: IdleMailbox) -> None:
        """Look again at history that ends before what was announced, after as long as that is ago.

        Announcements can overtake it, and a look every quarter of an hour would delay the mail by that.
        """
        if member.lags_for is not None:
            watch = self._providers[member.mailbox.provider].watch_times
            seconds = max(_LEAST_LAG if watch is None else watch.echo, member.lags_for)
            async with self._pool.acquire() as connection:
                await idle_mailboxes.look_again(connection, [member.mailbox.mailbox_id], seconds=seconds)

    async def _ask_provider(self, look: Look) -> _Found:
        """Return the history since the cursor and, as far as they are due, labels and profile."""
        mailbox = look.member.mailbox
        async with self._access.open(self._providers[mailbox.provider], mailbox, writing=None) as session:

            async def ask() -> _Found:
                return _Found(
                    page=await session.list_changes(cursor=look.member.cursor, page_token=None),
                    labels=await session.list_labels() if look.with_labels else None,
                    profile=await session.profile() if look.with_address else None,
                )

            return await self._access.calls(mailbox).call_prepaid(ask)

    async def _are_other_labels(self, mailbox_id: int, listed: Sequence[Label]) -> bool:
        """Return whether the labels differ from those stored; then they are due to be copied."""
        async with self._pool.acquire() as connection:
            if set(await labels.of_mailbox(connection, mailbox_id)) == set(listed):
                return False
            await labels.postpone(connection, mailbox_id, seconds=0)
            return True

    async def _is_other_address(self, mailbox: Mailbox, profile: Profile) -> bool:
        """Return whether the mailbox has another address at the provider; then a turn is to learn it."""
        if not profile.address or profile.address.casefold() == mailbox.email.casefold():
            return False
        async with self._pool.acquire() as connection:
            await mailbox_addresses.expect_rename(connection, mailbox.mailbox_id)
            return True

    async def wake(self, mailbox_ids: Collection[int], *, changed: bool = False, missed: bool = False) -> None:
        """Make mailboxes due for a turn, as idle_mailboxes.wake does."""
        if mailbox_ids:
            async with self._pool.acquire() as connection:
                await idle_mailboxes.wake(connection, mailbox_ids, changed=changed, missed=missed)
