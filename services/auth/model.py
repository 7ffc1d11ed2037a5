"""The words of the auth service that several of its modules share."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class AccountStatus(StrEnum):
    """Whether the provider still honours the grant."""

    ACTIVE = "active"
    REAUTH_REQUIRED = "reauth_required"


@dataclass(frozen=True)
class Account:
    """A provider's account that a user connected."""

    account_id: UUID
    user_id: UUID
    provider: str
    email: str
    status: AccountStatus
    created_at: datetime
