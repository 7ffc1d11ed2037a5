"""The gRPC services of auth: convert, call, convert. Only here does protobuf meet the domain."""

from collections.abc import Callable
from functools import partial

from grpc import aio
from mailroom.auth.v1 import auth_pb2_grpc

from services.auth.applications.api_keys import ApiKeys
from services.auth.applications.applications import Applications
from services.auth.applications.audit_events import AuditEvents
from services.auth.applications.connect_sessions import ConnectSessions
from services.auth.applications.deletions import ApplicationDeletions
from services.auth.applications.revoked import Revoked
from services.auth.applications.token_exchange import TokenExchange
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.provider_grants.provider_tokens import ProviderTokens
from services.auth.rpc.accounts import AccountServicer
from services.auth.rpc.api_keys import ApiKeyServicer
from services.auth.rpc.applications import ApplicationServicer
from services.auth.rpc.connect import ConnectServicer
from services.auth.rpc.provider_tokens import ProviderTokenServicer
from services.auth.rpc.sessions import SessionServicer
from services.auth.rpc.sign_in import SignInServicer
from services.auth.rpc.signing_keys import SigningKeyServicer
from services.auth.rpc.users import UserServicer
from services.auth.security_events import SecurityEvents
from services.auth.sessions.access_tokens import AccessTokens
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.sign_in.sign_in import SignIn

# The gateway never gets tokens of users' mailboxes, so that an intruder there gets none.
CALLERS = {
    "mailroom.auth.v1.SignInService": frozenset({"gateway"}),
    "mailroom.auth.v1.SessionService": frozenset({"gateway"}),
    "mailroom.auth.v1.UserService": frozenset({"gateway"}),
    "mailroom.auth.v1.ApiKeyService": frozenset({"gateway"}),
    "mailroom.auth.v1.ApplicationService": frozenset({"gateway"}),
    "mailroom.auth.v1.ConnectService": frozenset({"gateway"}),
    # Public keys: mail verifies with them who asks. The gateway gets them as SessionService publishes them.
    "mailroom.auth.v1.SigningKeyService": frozenset({"mail"}),
    "mailroom.auth.v1.AccountService": frozenset({"mail"}),
    "mailroom.auth.v1.ProviderTokenService": frozenset({"mail"}),
}


def registrations(
    *,
    sign_in: SignIn,
    sessions: Sessions,
    signing_keys: SigningKeys,
    accounts: Accounts,
    events: SecurityEvents,
    disconnections: Disconnections,
    provider_tokens: ProviderTokens,
    api_keys: ApiKeys,
    audit_events: AuditEvents,
    access_tokens: AccessTokens,
    token_exchange: TokenExchange,
    revoked: Revoked,
    applications: Applications,
    application_deletions: ApplicationDeletions,
    connect_sessions: ConnectSessions,
) -> list[Callable[[aio.Server], None]]:
    """Return functions that add auth's services to a server."""
    return [
        partial(auth_pb2_grpc.add_SignInServiceServicer_to_server, SignInServicer(sign_in)),
        partial(auth_pb2_grpc.add_SessionServiceServicer_to_server, SessionServicer(sessions, signing_keys)),
        partial(auth_pb2_grpc.add_SigningKeyServiceServicer_to_server, SigningKeyServicer(signing_keys)),
        partial(
            auth_pb2_grpc.add_ApiKeyServiceServicer_to_server,
            ApiKeyServicer(api_keys, audit_events, access_tokens, token_exchange, revoked),
        ),
        partial(
            auth_pb2_grpc.add_ApplicationServiceServicer_to_server,
            ApplicationServicer(applications, application_deletions),
        ),
        partial(auth_pb2_grpc.add_ConnectServiceServicer_to_server, ConnectServicer(connect_sessions, sign_in)),
        partial(auth_pb2_grpc.add_UserServiceServicer_to_server, UserServicer(accounts, events)),
        partial(
            auth_pb2_grpc.add_AccountServiceServicer_to_server,
            AccountServicer(accounts, disconnections, application_deletions),
        ),
        partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, ProviderTokenServicer(provider_tokens)),
    ]
