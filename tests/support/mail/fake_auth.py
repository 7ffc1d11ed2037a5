"""Auth as mail sees it: accounts, and access tokens that are the sandbox's own."""

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.kit.errors import AppError, Kind
from services.mail.model import DEFAULT_APPLICATION, Account, MailboxStatus
from tests.support.mail.sandbox_control import Sandbox
from tests.support.sandbox.harness import redirect_params


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class _Grant:
    account: Account
    refresh_token: str
    access_token: str
    expires_at: datetime


@dataclass
class FakeAuth:
    """Holds the grants that users gave in the sandbox and refreshes their tokens there."""

    sandbox: Sandbox
    is_down: bool = False
    # So many lookups of tokens are taken and never answered.
    unanswered: int = 0
    # Tokens that mail reported as refused by the provider.
    refused: list[str] = field(default_factory=list)
    deleted_users: list[UUID] = field(default_factory=list)
    # Applications whose deletion was requested, and those that mail had erased.
    deleted_applications: list[UUID] = field(default_factory=list)
    erased_applications: list[UUID] = field(default_factory=list)
    # Those that auth cannot delete now.
    undeletable: set[UUID] = field(default_factory=set)
    unerasable: set[UUID] = field(default_factory=set)
    # Accounts that are gone, but that answers under way still name.
    late: list[Account] = field(default_factory=list)
    # So many times an account is ended, but the answer does not arrive.
    lost_answers: int = 0
    # Why a policy of the provider refuses to refresh tokens; empty: none does.
    refresh_denial: str = ""
    # The reports that mail has made, of denied access (empty: granted) and of addresses, in order.
    denials: list[str] = field(default_factory=list)
    refuses_reports: bool = False
    # Unless it is set, answers that a grant has ended, or is denied, are held back.
    told_of_ends: asyncio.Event = field(default_factory=_open_gate)
    addresses: list[str] = field(default_factory=list)
    _grants: dict[UUID, _Grant] = field(default_factory=dict)

    async def connect(self, email: str, *, user_id: UUID | None = None) -> Account:
        """Lets a user of the sandbox consent; connecting the same account again renews its grant."""
        answer = await self.sandbox.oauth.authorize({"account": email, "decision": "allow"})
        exchange = await self.sandbox.oauth.exchange(redirect_params(answer)["code"])
        tokens = exchange.json()
        known = next((grant for grant in self._grants.values() if grant.account.email == email), None)
        # A silent consent brings no refresh token.
        kept = known.refresh_token if known else ""
        account = (
            known.account
            if known
            else Account(
                account_id=uuid4(),
                user_id=user_id or uuid4(),
                provider="google",
                email=email,
                status=MailboxStatus.ACTIVE,
                provider_identity=uuid4().hex,
            )
        )
        account = replace(account, status=MailboxStatus.ACTIVE, access_denied_reason="")
        self._grants[account.account_id] = _Grant(
            account, tokens.get("refresh_token") or kept, tokens["access_token"], _end(tokens["expires_in"])
        )
        return account

    def add_account(self, provider: str, email: str) -> Account:
        """An account at a provider that asks for no tokens."""
        account = Account(
            account_id=uuid4(), user_id=uuid4(), provider=provider, email=email, status=MailboxStatus.ACTIVE
        )
        self._grants[account.account_id] = _Grant(account, "", "", _end(0))
        return account

    def add_twin(self, account: Account) -> Account:
        """One more account of the user with the same address, written differently; without any grant."""
        twin = replace(account, account_id=uuid4(), email=account.email.title(), provider_identity=uuid4().hex)
        self._grants[twin.account_id] = _Grant(twin, "", "", _end(0))
        return twin

    def share(self, account: Account) -> Account:
        """Another application's account of the same subject at the provider, on the same grant."""
        other = replace(account, account_id=uuid4(), user_id=uuid4(), application_id=uuid4())
        self._grants[other.account_id] = replace(self._grants[account.account_id], account=other)
        return other

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """As AuthClient."""
        self._answer()
        accounts = [*(grant.account for grant in self._grants.values()), *self.late]
        return [account for account in accounts if account.user_id == user_id]

    async def list_application_accounts(self, application_id: UUID, *, account_id: UUID | None) -> list[Account]:
        """As AuthClient."""
        self._answer()
        accounts = [grant.account for grant in self._grants.values()]
        return [
            account
            for account in accounts
            if account.application_id == application_id and account_id in (None, account.account_id)
        ]

    async def report_account(
        self, account_id: UUID, user_id: UUID, *, access_denied_reason: str | None = None, email: str = ""
    ) -> None:
        """As AuthClient."""
        self._answer()
        if self.refuses_reports:
            raise AppError(Kind.UNAVAILABLE, "service_unavailable", "Auth is down.")
        grant = self._grants.get(account_id)
        if grant is None or grant.account.user_id != user_id:
            raise AppError(Kind.NOT_FOUND, "account_not_found", "There is no such account.")
        if access_denied_reason is not None:
            self.denials.append(access_denied_reason)
            grant.account = replace(grant.account, access_denied_reason=access_denied_reason)
        if email:
            self.addresses.append(email)
            grant.account = replace(grant.account, email=email)

    async def disconnect_account(self, account_id: UUID, user_id: UUID) -> None:
        """As AuthClient: forgets, and revokes at the provider with the last account on the grant."""
        self._answer()
        grant = self._grants.get(account_id)
        if grant is not None and grant.account.user_id == user_id:
            del self._grants[account_id]
            identities = [other.account.provider_identity for other in self._grants.values()]
            if grant.account.provider_identity not in identities:
                await self.sandbox.http.post("/revoke", data={"token": grant.refresh_token})
        if self.lost_answers:
            self.lost_answers -= 1
            raise AppError(Kind.TIMEOUT, "deadline_exceeded", "No answer came.")

    async def delete_user(self, user_id: UUID, *, application_id: UUID | None = None) -> None:
        """As AuthClient."""
        self._answer()
        if application_id not in (None, DEFAULT_APPLICATION):
            return
        if user_id in self.undeletable:
            raise AppError(Kind.UNAVAILABLE, "provider_unavailable", "The provider does not answer.")
        for account in await self.list_accounts(user_id):
            await self.disconnect_account(account.account_id, user_id)
        self.deleted_users.append(user_id)

    async def list_deleted_applications(self) -> list[UUID]:
        """As AuthClient."""
        self._answer()
        return list(self.deleted_applications)

    async def erase_application(self, application_id: UUID) -> bool:
        """As AuthClient."""
        self._answer()
        if application_id in self.unerasable:
            raise AppError(Kind.UNAVAILABLE, "provider_unavailable", "The provider does not answer.")
        # Idempotent: workers and tests ask at the same time.
        if application_id in self.deleted_applications:
            self.deleted_applications.remove(application_id)
            self.erased_applications.append(application_id)
        return True

    async def access_token(
        self, account_id: UUID, user_id: UUID, *, refused_fingerprint: str = ""
    ) -> tuple[str, datetime]:
        """As AuthClient."""
        self._answer()
        if self.unanswered:
            self.unanswered -= 1
            await asyncio.Event().wait()
        grant = self._grants.get(account_id)
        if grant is None or grant.account.user_id != user_id:
            raise AppError(Kind.NOT_FOUND, "account_not_found", "There is no such account.")
        if refused_fingerprint:
            self.refused.append(refused_fingerprint)
        if refused_fingerprint == hashlib.sha256(grant.access_token.encode()).hexdigest():
            await self._refresh(grant)
        return grant.access_token, grant.expires_at

    async def _refresh(self, grant: _Grant) -> None:
        if self.refresh_denial:
            metadata = {"denial": self.refresh_denial}
            await self.told_of_ends.wait()
            raise AppError(Kind.CONFLICT, "provider_access_denied", "A policy forbids it.", metadata)
        answer = await self.sandbox.oauth.refresh(grant.refresh_token)
        if answer.status_code != 200:
            grant.account = replace(grant.account, status=MailboxStatus.REAUTH_REQUIRED)
            await self.told_of_ends.wait()
            raise AppError(Kind.CONFLICT, "reauth_required", "The grant is gone.")
        tokens = answer.json()
        grant.access_token, grant.expires_at = tokens["access_token"], _end(tokens["expires_in"])

    def _answer(self) -> None:
        if self.is_down:
            raise AppError(Kind.UNAVAILABLE, "service_unavailable", "Auth is down.")


def _end(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
