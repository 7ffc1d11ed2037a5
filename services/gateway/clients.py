"""The services behind the gateway, as typed stubs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mailroom.auth.v1.auth_pb2_grpc import (
    ApiKeyServiceStub,
    ApplicationServiceStub,
    ConnectServiceStub,
    SessionServiceStub,
    SignInServiceStub,
    UserServiceStub,
)
from mailroom.mail.v1.mail_pb2_grpc import (
    MailboxServiceStub,
    MessageServiceStub,
    SyncServiceStub,
    UsageServiceStub,
    WebhookServiceStub,
)
from opentelemetry.trace import Tracer

from services.kit.rpc.client import open_channel
from services.kit.tls.identity import ServiceIdentity

# RPCs that are repeated when the peer was away. tests/protos/test_retries.py requires each RPC here, or a reason there.
AUTH_RETRIED = [
    # Each call makes a state of its own; an unused one expires.
    ("mailroom.auth.v1.SignInService", "StartSignIn"),
    # Not idempotent; retried because a call that never arrived, as happens while auth is replaced, can still succeed.
    ("mailroom.auth.v1.SignInService", "CompleteSignIn"),
    ("mailroom.auth.v1.SignInService", "RedeemSignIn"),
    ("mailroom.auth.v1.SessionService", "ListSigningKeys"),
    # A repeat gets the same refresh token.
    ("mailroom.auth.v1.SessionService", "RefreshSession"),
    ("mailroom.auth.v1.SessionService", "RevokeSession"),
    ("mailroom.auth.v1.SessionService", "ListSessions"),
    ("mailroom.auth.v1.SessionService", "VerifyRecentSignIn"),
    ("mailroom.auth.v1.UserService", "GetUser"),
    ("mailroom.auth.v1.UserService", "ListSecurityEvents"),
    ("mailroom.auth.v1.ApiKeyService", "VerifyApiKey"),
    ("mailroom.auth.v1.ApiKeyService", "ListApiKeys"),
    ("mailroom.auth.v1.ApiKeyService", "ListApiKeyEvents"),
    ("mailroom.auth.v1.ApiKeyService", "ListAuditEvents"),
    ("mailroom.auth.v1.ApiKeyService", "RevokeApiKey"),
    # A repeat makes another token.
    ("mailroom.auth.v1.ApiKeyService", "ExchangeToken"),
    ("mailroom.auth.v1.ApiKeyService", "ListRevocations"),
    ("mailroom.auth.v1.ApplicationService", "ListApplications"),
    ("mailroom.auth.v1.ApplicationService", "UpdateApplication"),
    ("mailroom.auth.v1.ApplicationService", "DeleteApplication"),
    ("mailroom.auth.v1.ApplicationService", "AddUser"),
    ("mailroom.auth.v1.ApplicationService", "ListUsers"),
    ("mailroom.auth.v1.ApplicationService", "GetApplicationUser"),
    # Each call makes a session, or a state, of its own; an unused one expires.
    ("mailroom.auth.v1.ConnectService", "CreateConnectSession"),
    ("mailroom.auth.v1.ConnectService", "GetConnectSession"),
    ("mailroom.auth.v1.ConnectService", "BeginConnectSession"),
    ("mailroom.auth.v1.ConnectService", "CompleteConnectSession"),
]
MAIL_RETRIED = [
    ("mailroom.mail.v1.MailboxService", "ListMailboxes"),
    ("mailroom.mail.v1.MailboxService", "RefreshMailboxes"),
    ("mailroom.mail.v1.MailboxService", "DisconnectMailbox"),
    ("mailroom.mail.v1.MailboxService", "DeleteUser"),
    ("mailroom.mail.v1.MessageService", "ListMessages"),
    ("mailroom.mail.v1.MessageService", "GetMessage"),
    ("mailroom.mail.v1.MessageService", "ListLabels"),
    ("mailroom.mail.v1.MessageService", "ListThreads"),
    ("mailroom.mail.v1.MessageService", "GetThread"),
    ("mailroom.mail.v1.MessageService", "ListChanges"),
    ("mailroom.mail.v1.MessageService", "ExportMessages"),
    # Streams are repeated only before their first message.
    ("mailroom.mail.v1.MessageService", "DownloadRaw"),
    ("mailroom.mail.v1.MessageService", "DownloadAttachment"),
    # A repeat joins the running sync.
    ("mailroom.mail.v1.SyncService", "StartSync"),
    ("mailroom.mail.v1.SyncService", "GetSync"),
    ("mailroom.mail.v1.SyncService", "ListSyncs"),
    ("mailroom.mail.v1.SyncService", "CancelSync"),
    ("mailroom.mail.v1.SyncService", "AcceptPush"),
    ("mailroom.mail.v1.SyncService", "RetrySync"),
    ("mailroom.mail.v1.SyncService", "VerifyMailbox"),
    ("mailroom.mail.v1.WebhookService", "ListWebhooks"),
    ("mailroom.mail.v1.WebhookService", "GetWebhook"),
    ("mailroom.mail.v1.WebhookService", "UpdateWebhook"),
    ("mailroom.mail.v1.WebhookService", "EnableWebhook"),
    ("mailroom.mail.v1.WebhookService", "ListWebhookDeliveries"),
    ("mailroom.mail.v1.WebhookService", "ReplayWebhook"),
    # Events bear the id of the first: receivers drop one that comes twice.
    ("mailroom.mail.v1.WebhookService", "RetryWebhookDelivery"),
    ("mailroom.mail.v1.UsageService", "GetUsage"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One stub per RPC service that the gateway calls."""

    sign_in: SignInServiceStub
    sessions: SessionServiceStub
    users: UserServiceStub
    api_keys: ApiKeyServiceStub
    applications: ApplicationServiceStub
    connect: ConnectServiceStub
    mailboxes: MailboxServiceStub
    messages: MessageServiceStub
    syncs: SyncServiceStub
    webhooks: WebhookServiceStub
    usage: UsageServiceStub


@asynccontextmanager
async def connect(
    *, auth_address: str, mail_address: str, identity: ServiceIdentity | None, tracer: Tracer | None = None
) -> AsyncIterator[Services]:
    """Open channels to auth and mail (`host:port`) and close them at the end.

    A peer that is down fails only the calls to it.
    """
    async with (
        open_channel(auth_address, peer="auth", identity=identity, retried=AUTH_RETRIED, tracer=tracer) as auth,
        open_channel(mail_address, peer="mail", identity=identity, retried=MAIL_RETRIED, tracer=tracer) as mail,
    ):
        yield Services(
            sign_in=SignInServiceStub(auth),
            sessions=SessionServiceStub(auth),
            users=UserServiceStub(auth),
            api_keys=ApiKeyServiceStub(auth),
            applications=ApplicationServiceStub(auth),
            connect=ConnectServiceStub(auth),
            mailboxes=MailboxServiceStub(mail),
            messages=MessageServiceStub(mail),
            syncs=SyncServiceStub(mail),
            webhooks=WebhookServiceStub(mail),
            usage=UsageServiceStub(mail),
        )
