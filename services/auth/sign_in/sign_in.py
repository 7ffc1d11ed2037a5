"""Signing in through a provider, linking or connecting an account: start, the provider's response, the login code."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import structlog

from services.auth.applications.connect_sessions import ConnectSessions
from services.auth.errors import unknown_provider
from services.auth.model import UNKNOWN_CLIENT, Account, Client
from services.auth.provider_grants.accounts import AccountIsLinkedError, Accounts, OfflineAccessMissingError
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.providers.base import (
    Consent,
    Provider,
)
from services.auth.sessions.sessions import Sessions, Tokens
from services.auth.sign_in.exchange import exchange
from services.auth.sign_in.linking import Linking
from services.auth.sign_in.one_time_records import (
    AUTHORIZATION_REQUEST_SECONDS,
    AuthorizationRequest,
    Connection,
    LoginCode,
    OneTimeRecords,
    random_value,
)
from services.auth.sign_in.outcomes import (
    AuthorizationResponse,
    Completed,
    ConsentRequired,
    Refused,
    RefusedError,
    ReturnToApplication,
    SignInError,
    Started,
)
from services.auth.sign_in.pkce import check_challenge, check_verifier, s256
from services.auth.sign_up import SignUpRefusedError
from services.kit.errors import AppError, Kind

log = structlog.get_logger()


class _GrantEndedError(Exception):
    """A revocation has ended the grant while it was made."""


class SignIn:
    """Sign-ins and links in their three steps: start, complete, redeem."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        authorization_requests: OneTimeRecords[AuthorizationRequest],
        login_codes: OneTimeRecords[LoginCode],
        accounts: Accounts,
        new_grants: NewGrants,
        linking: Linking,
        connect_sessions: ConnectSessions,
        sessions: Sessions,
        require_pkce: bool,
        clock: Callable[[], datetime],
        random: Callable[[], str] = random_value,
    ) -> None:
        self._providers = providers
        self._authorization_requests = authorization_requests
        self._login_codes = login_codes
        self._accounts = accounts
        self._new_grants = new_grants
        self._linking = linking
        self._connect_sessions = connect_sessions
        self._sessions = sessions
        self._require_pkce = require_pkce
        self._clock = clock
        self._random = random

    async def start(
        self, provider: str, *, client_challenge: str, link_to: UUID | None, max_age: int | None = None
    ) -> Started:
        """Start a sign-in, or the link of an account to this signed-in user.

        Raises AppError unknown_provider, invalid_code_challenge, client_proof_required, invalid_max_age.
        """
        found = self._provider(provider)
        check_challenge(client_challenge, required=self._require_pkce)
        if max_age is not None and max_age < 0:
            raise AppError(Kind.INVALID, "invalid_max_age", "max_age must be a number of seconds.")
        request = AuthorizationRequest(
            provider=found.name,
            code_verifier=self._random(),
            nonce=self._random(),
            client_challenge=client_challenge,
            force_consent=False,
            max_age=max_age,
            link_to=link_to,
        )
        return await self._send_to(found, request)

    async def start_connection(self, token: str, *, provider: str) -> Started:
        """Start the consent of a connect session. Raises AppError connect_session_not_found, unknown_provider."""
        session = await self._connect_sessions.begin(token, provider=provider)
        request = AuthorizationRequest(
            provider=provider,
            code_verifier=self._random(),
            nonce=self._random(),
            client_challenge="",
            force_consent=False,
            # A process of the release before this one takes it for a link, which no session can redeem.
            link_to=session.user_id,
            connection=Connection(session_id=session.session_id, redirect_url=session.redirect_url),
            login_hint=session.login_hint,
        )
        return await self._send_to(self._provider(provider), request)

    async def complete(
        self, provider: str, *, response: AuthorizationResponse, client: Client = UNKNOWN_CLIENT
    ) -> Completed | Refused | ConsentRequired | ReturnToApplication:
        """Handle the provider's response; a state is valid once. Raises AppError unknown_provider.

        The login code is a new value: the client that started the sign-in knows the state, and may be an attacker's.
        """
        found = self._provider(provider)
        request = await self._authorization_requests.take(response.state)
        if request is None or request.provider != provider:
            return self._refused(provider, SignInError.INVALID_STATE)
        if request.connection is None:
            return await self._outcome(found, request, response, client)
        return await self._return(request.connection, self._outcome(found, request, response, client))

    async def _return(
        self, connection: Connection, pending: Awaitable[Completed | Refused | ConsentRequired]
    ) -> ConsentRequired | ReturnToApplication:
        """Return the application's URL with the outcome; of failures that pass it is told as well."""
        try:
            outcome = await pending
        except AppError as error:
            log.warning("consent of a connect session not stored", reason=error.reason)
            outcome = Refused(SignInError.SERVICE_UNAVAILABLE)
        match outcome:
            case ConsentRequired():
                return outcome
            case Completed(code):
                result = {"code": code}
            case Refused(reason):
                result = {"error": str(reason)}
        query = urlencode({"session": str(connection.session_id), **result})
        separator = "&" if "?" in connection.redirect_url else "?"
        return ReturnToApplication(f"{connection.redirect_url}{separator}{query}")

    async def _outcome(
        self, found: Provider, request: AuthorizationRequest, response: AuthorizationResponse, client: Client
    ) -> Completed | Refused | ConsentRequired:
        provider = found.name
        try:
            consent = await exchange(found, request, response)
            return Completed(await self._login_code(request, consent, client))
        except RefusedError as error:
            return self._refused(provider, error.error)
        except AccountIsLinkedError:
            return self._refused(provider, SignInError.ACCOUNT_IS_LINKED)
        except SignUpRefusedError:
            return self._refused(provider, SignInError.SIGN_UP_NOT_ALLOWED)
        except OfflineAccessMissingError:
            if request.force_consent:
                return self._refused(provider, SignInError.NO_OFFLINE_ACCESS)
            return await self._require_consent(found, request)
        except _GrantEndedError:
            return await self._require_consent(found, request)

    async def redeem(
        self,
        login_code: str,
        *,
        code_verifier: str,
        redeemed_by: UUID | None,
        client: Client = UNKNOWN_CLIENT,
    ) -> Tokens | Account:
        """Exchange a login code for a session. It is valid once; a PKCE challenge given at start needs its verifier.

        The login code of a link returns the linked account instead; `redeemed_by`, the signed-in user, must then be the
        user who started it. A link begins no session, since a stolen access token would suffice to get a lasting one.
        Raises AppError invalid_hand_off, invalid_code_verifier, and those of Linking.commit; a wrong verifier uses the
        login code up as well.
        """
        record = await self._login_codes.take(login_code)
        if record is None:
            raise _invalid_login_code()
        try:
            check_verifier(code_verifier, challenge=record.client_challenge, required=self._require_pkce)
        except AppError:
            if record.pending_link is not None:
                await self._linking.cancel(record.pending_link)
            raise
        if record.pending_link is not None:
            return await self._linking.commit(
                record.pending_link, started_by=record.user_id, redeemed_by=redeemed_by, client=client
            )
        tokens = await self._sessions.begin(record.user_id, client=client)
        if tokens is None:
            raise _invalid_login_code()
        return tokens

    def _provider(self, name: str) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            raise unknown_provider()
        return provider

    async def _send_to(self, provider: Provider, request: AuthorizationRequest) -> Started:
        expires_at = self._clock() + timedelta(seconds=AUTHORIZATION_REQUEST_SECONDS)
        state = await self._authorization_requests.put(request)
        url = provider.authorization_url(
            state=state,
            nonce=request.nonce,
            code_challenge=s256(request.code_verifier),
            force_consent=request.force_consent,
            choose_account=request.link_to is not None and not (request.force_consent or request.login_hint),
            max_age=request.max_age,
            login_hint=request.login_hint,
        )
        return Started(authorization_url=url, state=state, expires_at=expires_at)

    async def _require_consent(self, provider: Provider, request: AuthorizationRequest) -> ConsentRequired:
        renewed = {"force_consent": True, "code_verifier": self._random(), "nonce": self._random()}
        again = await self._send_to(provider, request.model_copy(update=renewed))
        return ConsentRequired(again.authorization_url)

    async def _login_code(self, request: AuthorizationRequest, consent: Consent, client: Client) -> str:
        """Store the grant, for the account or pending, and return a login code, or the code of a connect session.

        Raises _GrantEndedError if a revocation has ended the grant since, unless the user has consented again already.
        """
        if request.connection is not None:
            code = await self._connect_sessions.park(request.connection.session_id, consent)
            if code is None:
                raise RefusedError(SignInError.INVALID_STATE)
            return code
        user_id, pending_link = request.link_to, None
        if user_id is not None:
            pending_link = await self._linking.begin(consent, user_id=user_id)
        else:
            account = await self._accounts.sign_in(consent, client=client)
            user_id = account.user_id
            log.info("signed in", provider=account.provider, account_id=str(account.account_id))
            if not await self._new_grants.lasts(account) and not request.force_consent:
                raise _GrantEndedError
        return await self._login_codes.put(
            LoginCode(user_id=user_id, client_challenge=request.client_challenge, pending_link=pending_link)
        )

    def _refused(self, provider: str, error: SignInError) -> Refused:
        log.info("sign-in refused", provider=provider, outcome=str(error))
        return Refused(error)


def _invalid_login_code() -> AppError:
    return AppError(Kind.INVALID, "invalid_hand_off", "This state is unknown, used or expired; start a new sign-in.")
