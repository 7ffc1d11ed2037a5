"""Auth as mail sees it, for one account."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.kit.errors import AppError, Kind
from services.mail.model import Account, MailboxStatus
from tests.support.sandbox.imap_servers import EMAIL
from tests.support.sandbox.imap_servers import Servers as ImapServers


@dataclass
class OneAccount:
    """The one account, and all that mail asks of auth but its tokens."""

    account: Account
    # The reports of denied access that mail has made (empty: granted).
    denials: list[str] = field(default_factory=list)

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """As AuthClient."""
        return [self.account] if user_id == self.account.user_id else []

    async def report_account(
        self,
        account_id: UUID,  # noqa: ARG002 - there is one account
        user_id: UUID,  # noqa: ARG002
        *,
        access_denied_reason: str | None = None,
        email: str = "",  # noqa: ARG002 - the servers tell no address
    ) -> None:
        """As AuthClient."""
        if access_denied_reason is not None:
            self.denials.append(access_denied_reason)
            self.account = replace(self.account, access_denied_reason=access_denied_reason)

    async def disconnect_account(self, account_id: UUID, user_id: UUID) -> None:
        """As AuthClient."""

    async def list_application_accounts(
        self,
        application_id: UUID,
        *,
        account_id: UUID | None,  # noqa: ARG002 - there is one account
    ) -> list[Account]:
        """As AuthClient."""
        return [
            account
            for account in await self.list_accounts(self.account.user_id)
            if account.application_id == application_id
        ]

    async def delete_user(self, user_id: UUID, *, application_id: UUID | None = None) -> None:
        """As AuthClient."""

    async def list_deleted_applications(self) -> list[UUID]:
        """As AuthClient."""
        return []

    async def erase_application(self, application_id: UUID) -> bool:
        """As AuthClient."""
        raise NotImplementedError


def account_of(email: str) -> Account:
    """Return a new account."""
    return Account(account_id=uuid4(), user_id=uuid4(), provider="yandex", email=email, status=MailboxStatus.ACTIVE)


@dataclass
class ImapAccounts(OneAccount):
    """The account of the sandbox's IMAP servers, with their token.

    A refused one is replaced only if userinfo refuses it, too, as auth does.
    """

    account: Account = field(default_factory=lambda: account_of(EMAIL))
    # How often mail reported a refused token.
    refusals: int = 0
    # Whether a dead token is replaced, as by a refresh token.
    refreshes: bool = False
    at_provider: ImapServers = field(kw_only=True)

    def __post_init__(self) -> None:
        """Begin with the token of the servers."""
        self.token = self.at_provider.token

    async def access_token(
        self,
        account_id: UUID,  # noqa: ARG002 - there is one account
        user_id: UUID,  # noqa: ARG002
        *,
        refused_fingerprint: str = "",
    ) -> tuple[str, datetime]:
        """As AuthClient."""
        if refused_fingerprint == hashlib.sha256(self.token.encode()).hexdigest():
            self.refusals += 1
            answer = await self.at_provider.control_api.info(self.token)
            if answer.status_code != 401:
                raise AppError(
                    Kind.CONFLICT, "provider_access_denied", "IMAP is off.", metadata={"denial": "imap_disabled"}
                )
            if not self.refreshes:
                raise AppError(Kind.CONFLICT, "reauth_required", "The grant is gone.")
            self.token = (await self.at_provider.control_api.sign_in(scope="login:email mail:imap_full"))[
                "access_token"
            ]
        return self.token, datetime.now(UTC) + timedelta(days=1)
