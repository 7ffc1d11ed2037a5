"""Linking one more account to a signed-in user.

The provider's redirect attaches nothing: whoever consented may not be who asked. The grant is parked until the user who
started the link redeems the hand-off, which went to the browser that consented; if anybody else does, it is revoked.
"""

from uuid import UUID

import structlog

from services.auth.model import Account, EventType, SecurityEvent
from services.auth.provider_grants.accounts import AccountOfAnotherUserError, Accounts, OfflineAccessMissingError
from services.auth.provider_grants.revocations import LooseGrants
from services.auth.providers.base import Consent
from services.auth.sign_in.one_time_records import HAND_OFF_SECONDS
from services.auth.store import Store
from services.kit.errors import AppError, Kind

log = structlog.get_logger()


class Linking:
    """Parks a link and commits it."""

    def __init__(self, *, store: Store, accounts: Accounts, loose_grants: LooseGrants) -> None:
        self._store = store
        self._accounts = accounts
        self._loose_grants = loose_grants

    async def park(self, consent: Consent, *, user_id: UUID) -> UUID:
        """Keeps the grant for as long as its hand-off lives. Raises OfflineAccessMissingError."""
        if await self._accounts.must_ask_again(consent, user_id=user_id):
            raise OfflineAccessMissingError
        return await self._loose_grants.park(consent, seconds=HAND_OFF_SECONDS)

    async def commit(self, grant_id: UUID, *, started_by: UUID, redeemed_by: UUID | None) -> Account:
        """Links the account of a parked grant, or drops the grant.

        Raises AppError link_of_another_user, account_of_another_user, no_offline_access, invalid_hand_off.
        """
        if redeemed_by != started_by:
            await self._refuse(grant_id, started_by)
            raise AppError(
                Kind.INVALID,
                "link_of_another_user",
                "This state links an account to the user who started it: redeem it with that user's access token.",
            )
        try:
            return await self._commit(grant_id, started_by)
        except AccountOfAnotherUserError as error:
            await self._refuse(grant_id, started_by)
            raise AppError(Kind.CONFLICT, "account_of_another_user", "This account belongs to another user.") from error
        except OfflineAccessMissingError as error:
            await self._refuse(grant_id, started_by)
            raise AppError(
                Kind.CONFLICT, "no_offline_access", "The provider gave no refresh token; start again."
            ) from error

    async def drop(self, grant_id: UUID) -> None:
        """Has a parked grant revoked."""
        await self._loose_grants.drop(grant_id)

    async def _commit(self, grant_id: UUID, user_id: UUID) -> Account:
        async with self._store.transaction() as transaction:
            parked = await self._loose_grants.take(transaction, grant_id)
            if parked is None:
                raise _expired()
            account = await self._accounts.link(transaction, parked, user_id=user_id)
            if account is None:
                # Without a commit the grant of a deleted user stays parked, and is revoked when its time is up.
                raise _expired()
            await transaction.commit()
        log.info("linked", provider=account.provider, account_id=str(account.account_id))
        return account

    async def _refuse(self, grant_id: UUID, user_id: UUID) -> None:
        async with self._store.transaction() as transaction:
            if await transaction.lock_user(user_id):
                await transaction.events.add(SecurityEvent(user_id, EventType.LINK_REFUSED))
            await transaction.commit()
        await self._loose_grants.drop(grant_id)


def _expired() -> AppError:
    return AppError(Kind.INVALID, "invalid_hand_off", "This state has expired; start again.")
