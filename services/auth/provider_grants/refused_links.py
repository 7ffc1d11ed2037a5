"""Grants whose account cannot be linked to the user for whom it was asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from services.auth.model import Client
from services.auth.provider_grants.accounts import AccountOfAnotherUserError, OfflineAccessMissingError
from services.auth.provider_grants.revocations import GrantRevocations
from services.kit.errors import AppError, Kind


@asynccontextmanager
async def refused_links_revoked(
    revocations: GrantRevocations, grant_id: UUID, *, user_id: UUID, client: Client
) -> AsyncIterator[None]:
    """Revoke the pending grant if the block finds that its account cannot be linked to the user.

    Raises AppError account_of_another_user, no_offline_access.
    """
    try:
        yield
    except AccountOfAnotherUserError as error:
        await revocations.refuse_pending(grant_id, user_id=user_id, client=client)
        raise AppError(Kind.CONFLICT, "account_of_another_user", "This account belongs to another user.") from error
    except OfflineAccessMissingError as error:
        await revocations.refuse_pending(grant_id, user_id=user_id, client=client)
        raise AppError(
            Kind.CONFLICT, "no_offline_access", "The provider gave no refresh token; start again."
        ) from error
