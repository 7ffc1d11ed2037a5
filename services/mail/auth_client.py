"""The client of the auth service. Besides `rpc`, the only module of mail that imports generated code."""

from datetime import UTC, datetime
from uuid import UUID

from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc
from opentelemetry.trace import Tracer

from services.kit.rpc.client import call, open_channel
from services.kit.tls.identity import ServiceIdentity
from services.mail.model import DEFAULT_APPLICATION, Account, MailboxStatus

# Retried when auth is unavailable: all are idempotent. tests/protos/test_retries.py requires each RPC here, or a reason
# there.
RETRIED = (
    ("mailroom.auth.v1.AccountService", "ListAccounts"),
    ("mailroom.auth.v1.AccountService", "ReportAccount"),
    ("mailroom.auth.v1.AccountService", "DisconnectAccount"),
    ("mailroom.auth.v1.AccountService", "DeleteUser"),
    ("mailroom.auth.v1.AccountService", "ListDeletedApplications"),
    ("mailroom.auth.v1.AccountService", "EraseApplication"),
    ("mailroom.auth.v1.SigningKeyService", "ListVerificationKeys"),
    ("mailroom.auth.v1.ProviderTokenService", "GetAccessToken"),
)
# Seconds. A revocation at the provider can take long. A lookup takes a refresh at most, for which auth waits 8 s; auth
# finishes it also if this call has ended.
_REVOCATION_TIMEOUT = 30.0
_LOOKUP_TIMEOUT = 9.0
# A report is made by a worker that holds a lease: shorter than that.
_REPORT_TIMEOUT = 5.0
_KEYS_TIMEOUT = 3.0
_STATUS = {
    auth_pb2.ACCOUNT_STATUS_ACTIVE: MailboxStatus.ACTIVE,
    auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED: MailboxStatus.REAUTH_REQUIRED,
}


def connect(address: str, *, identity: ServiceIdentity | None, tracer: Tracer | None) -> aio.Channel:
    """Open a channel to auth; the caller closes it. Raises IdentityError if the identity cannot be used."""
    return open_channel(address, peer="auth", identity=identity, retried=RETRIED, tracer=tracer)


class AuthClient:
    """Typed calls of auth. They raise AppError with auth's reasons."""

    def __init__(self, channel: aio.Channel, *, lookup_timeout: float = _LOOKUP_TIMEOUT) -> None:
        self._lookup_timeout = lookup_timeout
        self._accounts = auth_pb2_grpc.AccountServiceStub(channel)
        self._signing_keys = auth_pb2_grpc.SigningKeyServiceStub(channel)
        self._tokens = auth_pb2_grpc.ProviderTokenServiceStub(channel)

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """Return the accounts that the user has connected."""
        answer = await call(self._accounts.ListAccounts, auth_pb2.ListAccountsRequest(user_id=str(user_id)))
        return [_account_of(account) for account in answer.accounts]

    async def list_application_accounts(self, application_id: UUID, *, account_id: UUID | None) -> list[Account]:
        """Return the newest accounts of an application, or the one with this id."""
        request = auth_pb2.ListAccountsRequest(
            application_id=str(application_id), account_id="" if account_id is None else str(account_id)
        )
        answer = await call(self._accounts.ListAccounts, request)
        return [_account_of(account) for account in answer.accounts]

    async def verification_keys(self) -> bytes:
        """Return the public keys of auth's tokens as a JSON Web Key Set."""
        answer = await call(
            self._signing_keys.ListVerificationKeys, auth_pb2.ListVerificationKeysRequest(), timeout=_KEYS_TIMEOUT
        )
        return answer.jwks.encode()

    async def report_account(
        self, account_id: UUID, user_id: UUID, *, access_denied_reason: str | None = None, email: str = ""
    ) -> None:
        """Record whether the provider denies an account access (empty: it does not), and its current address.

        None and an empty address say nothing. Raises AppError account_not_found.
        """
        request = auth_pb2.ReportAccountRequest(
            account_id=str(account_id), user_id=str(user_id), access_denied_reason=access_denied_reason, email=email
        )
        await call(self._accounts.ReportAccount, request, timeout=_REPORT_TIMEOUT)

    async def disconnect_account(self, account_id: UUID, user_id: UUID) -> None:
        """Delete an account, its grant and its tokens. Idempotent: unknown accounts succeed."""
        request = auth_pb2.DisconnectAccountRequest(account_id=str(account_id), user_id=str(user_id))
        await call(self._accounts.DisconnectAccount, request, timeout=_REVOCATION_TIMEOUT)

    async def delete_user(self, user_id: UUID, *, application_id: UUID | None = None) -> None:
        """Delete a user with accounts, grants and sessions. Idempotent: unknown users succeed.

        With an application, users of others are unknown.
        """
        request = auth_pb2.DeleteUserRequest(
            user_id=str(user_id), application_id="" if application_id is None else str(application_id)
        )
        await call(self._accounts.DeleteUser, request, timeout=_REVOCATION_TIMEOUT)

    async def list_deleted_applications(self) -> list[UUID]:
        """Return the applications whose deletion was requested."""
        answer = await call(self._accounts.ListDeletedApplications, auth_pb2.ListDeletedApplicationsRequest())
        return list(map(UUID, answer.application_ids))

    async def erase_application(self, application_id: UUID) -> bool:
        """Delete some users of such an application, at last the application; return whether nothing is left."""
        request = auth_pb2.EraseApplicationRequest(application_id=str(application_id))
        return (await call(self._accounts.EraseApplication, request, timeout=_REVOCATION_TIMEOUT)).erased

    async def access_token(
        self, account_id: UUID, user_id: UUID, *, refused_fingerprint: str = ""
    ) -> tuple[str, datetime]:
        """Return an access token and its expiry.

        Raises AppError account_not_found, reauth_required, provider_access_denied (metadata: denial),
        deadline_exceeded.
        """
        request = auth_pb2.GetAccessTokenRequest(
            account_id=str(account_id), user_id=str(user_id), refused_token_fingerprint=refused_fingerprint
        )
        answer = await call(self._tokens.GetAccessToken, request, timeout=self._lookup_timeout)
        return answer.access_token, answer.expire_time.ToDatetime(tzinfo=UTC)


def _account_of(account: auth_pb2.Account) -> Account:
    return Account(
        account_id=UUID(account.account_id),
        user_id=UUID(account.user_id),
        # Empty from an auth of the release before applications.
        application_id=UUID(account.application_id) if account.application_id else DEFAULT_APPLICATION,
        provider=account.provider,
        provider_identity=account.provider_identity or None,
        email=account.email,
        status=_STATUS.get(account.status, MailboxStatus.REAUTH_REQUIRED),
        reconnect_by=(
            account.reconnect_by_time.ToDatetime(tzinfo=UTC) if account.HasField("reconnect_by_time") else None
        ),
        access_denied_reason=account.access_denied_reason,
    )
