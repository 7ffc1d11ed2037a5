"""Linking another account to a signed-in user.

The provider's redirect attaches nothing, because the person who consented may not be the user who started the link. The
grant is pending until the user who started the link redeems the login code, which went to the browser that consented.
If another user redeems it, the grant is revoked.
"""

from uuid import UUID

import structlog

from services.auth.model import UNKNOWN_CLIENT, Account, Client
from services.auth.provider_grants.accounts import Accounts, OfflineAccessMissingError
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.refused_links import refused_links_revoked
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import Consent
from services.auth.sign_in.one_time_records import LOGIN_CODE_SECONDS
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind

log = structlog.get_logger()


class Linking:
    """Pending links and their commit."""

    def __init__(
        self, *, store: Store, accounts: Accounts, new_grants: NewGrants, revocations: GrantRevocations
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._new_grants = new_grants
        self._revocations = revocations

    async def begin(self, consent: Consent, *, user_id: UUID) -> UUID:
        """Store the grant for as long as its login code is valid. Raises OfflineAccessMissingError."""
        if await self._accounts.needs_consent(consent, user_id=user_id):
            raise OfflineAccessMissingError
        return await self._revocations.add_pending(consent, seconds=LOGIN_CODE_SECONDS)

    async def commit(
        self, grant_id: UUID, *, started_by: UUID, redeemed_by: UUID | None, client: Client = UNKNOWN_CLIENT
    ) -> Account:
        """Link the account of a pending grant, or revoke the grant.

        Raises AppError link_of_another_user, account_of_another_user, no_offline_access, invalid_hand_off.
        """
        if redeemed_by != started_by:
            await self._revocations.refuse_pending(grant_id, user_id=started_by, client=client)
            raise AppError(
                Kind.INVALID,
                "link_of_another_user",
                "This state belongs to another user's link; start again, and redeem with the token of the same user.",
            )
        async with refused_links_revoked(self._revocations, grant_id, user_id=started_by, client=client):
            return await self._commit(grant_id, started_by, client)

    async def cancel(self, grant_id: UUID) -> None:
        """Revoke a pending grant."""
        await self._revocations.cancel_pending(grant_id)

    async def _commit(self, grant_id: UUID, user_id: UUID, client: Client) -> Account:
        async with self._store.transaction() as transaction:
            consent = await self._revocations.claim_pending(transaction, grant_id)
            if consent is None:
                raise _expired()
            account = await self._accounts.link(transaction, consent, user_id=user_id, client=client)
            if account is None:
                # The user was deleted. Without a commit the grant stays pending, and is revoked when it expires.
                raise _expired()
            await transaction.commit()
        log.info("linked", provider=account.provider, account_id=str(account.account_id))
        # If a revocation has ended the grant, the account requires a sign-in.
        await self._new_grants.lasts(account)
        return account


def _expired() -> AppError:
    return AppError(Kind.INVALID, "invalid_hand_off", "This state has expired; start again.")
