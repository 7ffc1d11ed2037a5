"""Connect sessions: an application has a user connect a mailbox in a browser, and completes that with its key.

The provider's redirect attaches nothing, because the person who consented may not be the user for whom the session was
made. The grant is pending, and a code goes to the browser that consented, at a URL of the application. The application
knows the users of its browsers: it completes the session only if this one belongs to the user of the session. Grants
of sessions that are not completed are revoked.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.auth.applications.applications import Applications
from services.auth.errors import connect_session_not_found, unknown_provider
from services.auth.model import (
    UNKNOWN_CLIENT,
    Access,
    Account,
    Application,
    Client,
    ConnectSession,
    ConnectState,
    EventType,
    User,
)
from services.auth.provider_grants.accounts import Accounts, OfflineAccessMissingError
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.refused_links import refused_links_revoked
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import Consent
from services.auth.store.transaction import Store, Transaction
from services.kit.errors import AppError, Kind

log = structlog.get_logger()

# How long the page opens, the code is valid, and a repeat of the completion gets the same answer.
PAGE_LIFETIME = timedelta(minutes=15)
CODE_LIFETIME = timedelta(minutes=10)
# A consent may come so long after the end of the page: an authorization request lives 10 minutes.
_CONSENT_TIME = timedelta(minutes=10)
_KEPT = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class ConnectRequest:
    """What an application asks for; without a provider the user chooses one."""

    application_id: UUID
    external_user_id: str
    redirect_url: str
    provider: str | None = None
    access: frozenset[Access] = frozenset({Access.READ})
    login_hint: str = ""


@dataclass(frozen=True)
class Page:
    """What the page of a session shows."""

    application: Application
    providers: tuple[str, ...]
    access: frozenset[Access]
    redirect_url: str


class ConnectSessions:
    """The connect sessions of all applications."""

    def __init__(
        self,
        *,
        store: Store,
        applications: Applications,
        accounts: Accounts,
        new_grants: NewGrants,
        revocations: GrantRevocations,
        providers: Collection[str],
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random: Callable[[], str],
    ) -> None:
        self._store = store
        self._applications = applications
        self._accounts = accounts
        self._new_grants = new_grants
        self._revocations = revocations
        self._providers = providers
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def create(self, request: ConnectRequest) -> tuple[ConnectSession, str]:
        """Create a session and return it with the token that opens its page.

        Raises AppError invalid_redirect_url, unknown_provider, invalid_external_user_id.
        """
        if request.provider is not None:
            self._check_provider(request.provider)
        async with self._store.transaction() as transaction:
            if await self._application(transaction, request.application_id, request.redirect_url) is None:
                raise AppError(
                    Kind.INVALID, "invalid_redirect_url", "redirect_url is none of the application's redirect URLs."
                )
        user, _ = await self._applications.add_user(request.external_user_id, application_id=request.application_id)
        session = ConnectSession(
            session_id=self._new_id(),
            application_id=request.application_id,
            user_id=user.user_id,
            provider=request.provider,
            access=request.access,
            login_hint=request.login_hint,
            redirect_url=request.redirect_url,
            state=ConnectState.CREATED,
            expires_at=self._clock() + PAGE_LIFETIME,
        )
        token = self._random()
        async with self._store.transaction() as transaction:
            await transaction.connect_sessions.add(session, token_digest=_digest(token))
            await transaction.commit()
        return session, token

    async def page(self, token: str) -> Page:
        """Return what the page of a session shows; changes nothing. Raises AppError connect_session_not_found."""
        session, application = await self._open(token)
        providers = (session.provider,) if session.provider else tuple(self._providers)
        return Page(application, providers, session.access, session.redirect_url)

    async def begin(self, token: str, *, provider: str) -> ConnectSession:
        """Return the session whose user goes to this provider. It can begin again until the first consent.

        Raises AppError connect_session_not_found, unknown_provider.
        """
        session, _ = await self._open(token)
        self._check_provider(provider)
        if session.provider not in (None, provider):
            raise unknown_provider()
        return session

    async def park(self, session_id: UUID, consent: Consent) -> str | None:
        """Store the grant of a first consent as pending, and return the code that completes the session.

        Another consent is revoked, and gets None. Raises OfflineAccessMissingError.
        """
        async with self._store.transaction() as transaction:
            session = await transaction.connect_sessions.find(session_id)
        if session is not None and await self._accounts.needs_consent(consent, user_id=session.user_id):
            raise OfflineAccessMissingError
        now, code = self._clock(), self._random()
        async with self._store.transaction() as transaction:
            grant_id = await self._revocations.park(transaction, consent, seconds=CODE_LIFETIME.total_seconds())
            is_first = await transaction.connect_sessions.set_consented(
                session_id,
                grant_id=grant_id,
                code_digest=_digest(code),
                not_before=now - _CONSENT_TIME,
                expires_at=now + CODE_LIFETIME,
            )
            await transaction.commit()
        if is_first:
            return code
        await self._revocations.cancel_pending(grant_id)
        return None

    async def complete(
        self, session_id: UUID, *, code: str, application_id: UUID, client: Client = UNKNOWN_CLIENT
    ) -> tuple[Account, User]:
        """Connect the account that was consented to. Idempotent: a repeat gets the same account while it exists.

        Raises AppError connect_session_not_found, invalid_connect_code, account_of_another_user, no_offline_access.
        """
        session = await self._consented(session_id, code=code, application_id=application_id)
        assert session.grant_id is not None  # noqa: S101 - the table of states
        async with refused_links_revoked(self._revocations, session.grant_id, user_id=session.user_id, client=client):
            await self._connect(session, session.grant_id, client)
        return await self._connected(session_id)

    async def forget_old(self) -> None:
        """Delete the sessions that have expired; grants that are pending for them are revoked in any case."""
        before = self._clock() - _KEPT
        await self._store.in_batches(
            lambda transaction, limit: transaction.connect_sessions.forget(before=before, limit=limit)
        )

    async def _open(self, token: str) -> tuple[ConnectSession, Application]:
        async with self._store.transaction() as transaction:
            session = await transaction.connect_sessions.find_by_token(_digest(token))
            if session is None or session.state is not ConnectState.CREATED or self._clock() >= session.expires_at:
                raise connect_session_not_found()
            # The application may have given up the URL meanwhile.
            application = await self._application(transaction, session.application_id, session.redirect_url)
        if application is None:
            raise connect_session_not_found()
        return session, application

    async def _application(
        self, transaction: Transaction, application_id: UUID, redirect_url: str
    ) -> Application | None:
        """Return the application if this is one of its redirect URLs, compared exactly (RFC 9700, section 2.1)."""
        application = await transaction.applications.find(application_id)
        return application if application is not None and redirect_url in application.redirect_urls else None

    async def _consented(self, session_id: UUID, *, code: str, application_id: UUID) -> ConnectSession:
        async with self._store.transaction() as transaction:
            session = await transaction.connect_sessions.find(session_id)
        if session is None or session.application_id != application_id:
            raise connect_session_not_found()
        if (
            session.code_digest is None
            or not hmac.compare_digest(session.code_digest, _digest(code))
            or self._clock() >= session.expires_at
        ):
            raise _invalid_code()
        return session

    async def _connect(self, session: ConnectSession, grant_id: UUID, client: Client) -> None:
        """Connect the account of the pending grant; without effect if that was claimed before or has expired."""
        async with self._store.transaction() as transaction:
            # Of completions at a time one claims the grant; the others wait for it here, and find it gone.
            consent = await self._revocations.claim_pending(transaction, grant_id)
            if consent is None:
                return
            account = await self._accounts.link(
                transaction, consent, user_id=session.user_id, client=client, new=EventType.ACCOUNT_CONNECTED
            )
            if account is None:
                # The user was deleted. Without a commit the grant stays pending, and is revoked when it expires.
                return
            await transaction.connect_sessions.set_completed(
                session.session_id, account_id=account.account_id, expires_at=self._clock() + CODE_LIFETIME
            )
            await transaction.commit()
        log.info("connected", provider=account.provider, account_id=str(account.account_id))
        # If a revocation has ended the grant, the account requires a new consent.
        await self._new_grants.lasts(account)

    async def _connected(self, session_id: UUID) -> tuple[Account, User]:
        async with self._store.transaction() as transaction:
            session = await transaction.connect_sessions.find(session_id)
            if session is None or session.account_id is None:
                raise _invalid_code()
            user = await transaction.users.find(session.user_id)
            account = await transaction.accounts.find(session.account_id)
        if user is None or account is None:
            # Disconnected since: a repeat connects nothing.
            raise _invalid_code()
        return account, user

    def _check_provider(self, provider: str) -> None:
        if provider not in self._providers:
            raise unknown_provider()


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _invalid_code() -> AppError:
    return AppError(
        Kind.INVALID, "invalid_connect_code", "The code is unknown, expired, or of another session; start again."
    )
