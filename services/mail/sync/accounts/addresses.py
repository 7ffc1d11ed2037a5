"""The addresses of a mailbox: the primary one, which can be renamed at the provider, and those to send mail from."""

import structlog

from services.kit.errors import AppError
from services.mail.model import Mailbox
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import Profile
from services.mail.providers.errors import ProviderError
from services.mail.store.control import mailbox_addresses
from services.mail.sync.accounts.access import AccountReports
from services.mail.sync.turn_context import TurnContext

log = structlog.get_logger()


async def learn(turn: TurnContext, mailbox: Mailbox, *, auth: AccountReports) -> None:
    """Compare the address with the provider's, once a day and when a notification names an unknown address.

    It costs a call unless the turn has read the profile anyway. A failure leaves the check to the next turn.
    """
    profile = turn.profile
    try:
        if profile is None and mailbox.address_is_due:
            profile = await _read(turn)
        if profile is None:
            return
        if profile.address and profile.address.casefold() != mailbox.email.casefold():
            # Auth first: its accounts are copied to mailboxes at any time.
            await auth.report_account(mailbox.account_id, mailbox.user_id, email=profile.address)
            log.info("the mailbox has another address at the provider")
        async with turn.writing() as connection:
            await mailbox_addresses.set_address(connection, mailbox.mailbox_id, profile.address or mailbox.email)
    except (ProviderError, QuotaWaitError, AppError) as error:
        log.info("address not compared with the provider's", error=type(error).__name__)


async def _read(turn: TurnContext) -> Profile:
    # No expense of the sync that is requested meanwhile.
    return await turn.call_uncounted(turn.provider.costs.profile, turn.session.profile)


async def learn_send_as(turn: TurnContext) -> None:
    """Ask for the addresses to send from, once a day; without an answer those that are known stay for a day."""
    if not turn.send_as_is_due:
        return
    turn.send_as_is_due = False
    try:
        listed = await turn.call_uncounted(turn.provider.costs.list_send_as, turn.session.list_send_as)
    except (QuotaWaitError, AppError):
        return
    except ProviderError as error:
        log.info("addresses to send from not learned", error=type(error).__name__)
        listed = None
    async with turn.writing() as connection:
        await mailbox_addresses.set_send_as(connection, turn.mailbox_id, listed)
