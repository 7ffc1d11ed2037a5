"""Conversion of accounts, session tokens and security events to protobuf."""

from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1 import auth_pb2

from services.auth.model import (
    UNKNOWN_CLIENT,
    Account,
    AccountStatus,
    ApiKey,
    Application,
    Client,
    KeyEvent,
    RecordedEvent,
    SecurityEvent,
    User,
)
from services.auth.sessions.sessions import Tokens
from services.auth.store.audit_events import AuditEvent
from services.auth.store.sessions import SessionRecord

_TOKEN_TYPE = "Bearer"  # noqa: S105 - RFC 6750
_STATUS = {
    AccountStatus.ACTIVE: auth_pb2.ACCOUNT_STATUS_ACTIVE,
    AccountStatus.REAUTH_REQUIRED: auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED,
}


def timestamp(moment: datetime) -> Timestamp:
    """Return the protobuf form of a time."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def session_tokens(tokens: Tokens) -> dict[str, Any]:
    """Return the fields that each response with tokens of a session has."""
    return {
        "access_token": tokens.access_token.value,
        "token_type": _TOKEN_TYPE,
        "expire_time": timestamp(tokens.access_token.expires_at),
        "refresh_token": tokens.refresh_token.value,
    }


def account_to_proto(account: Account) -> auth_pb2.Account:
    """Return the protobuf form of an account."""
    return auth_pb2.Account(
        account_id=str(account.account_id),
        user_id=str(account.user_id),
        provider=account.provider,
        email=account.email,
        status=_STATUS[account.status],
        create_time=timestamp(account.created_at),
        reconnect_by_time=None if account.reconnect_by is None else timestamp(account.reconnect_by),
        access_denied_reason=account.access_denied_reason,
        application_id=str(account.application_id),
        grant_id=str(account.grant_id),
        provider_identity=account.provider_identity,
    )


def application_to_proto(application: Application) -> auth_pb2.Application:
    """Return the protobuf form of an application."""
    return auth_pb2.Application(
        application_id=str(application.application_id),
        name=application.name,
        redirect_urls=application.redirect_urls,
        create_time=timestamp(application.created_at),
        delete_time=None if application.deleted_at is None else timestamp(application.deleted_at),
    )


def user_to_proto(user: User) -> auth_pb2.User:
    """Return the protobuf form of a user."""
    return auth_pb2.User(
        user_id=str(user.user_id),
        external_user_id=user.external_user_id or "",
        create_time=timestamp(user.created_at),
    )


def api_key_to_proto(key: ApiKey) -> auth_pb2.ApiKey:
    """Return the protobuf form of a key."""
    return auth_pb2.ApiKey(
        key_id=key.key_id,
        application_id="" if key.application_id is None else str(key.application_id),
        name=key.name,
        scopes=sorted(key.scopes),
        mailbox_ids=sorted(map(str, key.mailbox_ids or ())),
        networks=key.networks or (),
        created_by=key.created_by or "",
        create_time=timestamp(key.created_at),
        expire_time=None if key.expires_at is None else timestamp(key.expires_at),
        revoke_time=None if key.revoked_at is None else timestamp(key.revoked_at),
        use_time=None if key.used_at is None else timestamp(key.used_at),
    )


def key_event_to_proto(event: KeyEvent) -> auth_pb2.ApiKeyEvent:
    """Return the protobuf form of an event of a key."""
    return auth_pb2.ApiKeyEvent(
        type=event.type, create_time=timestamp(event.created_at), client=_client_to_proto(event.client)
    )


def audit_event_to_proto(event: AuditEvent) -> auth_pb2.AuditEvent:
    """Return the protobuf form of an event of an application."""
    return auth_pb2.AuditEvent(
        event=_event_to_proto(event.public_id, event, created_at=event.place.created_at),
        user_id="" if event.user_id is None else str(event.user_id),
        key_id=event.key_id or "",
    )


def event_to_proto(recorded: RecordedEvent) -> auth_pb2.SecurityEvent:
    """Return the protobuf form of a security event."""
    return _event_to_proto(recorded.public_id, recorded.event, created_at=recorded.created_at)


def _event_to_proto(
    event_id: UUID, event: SecurityEvent | AuditEvent, *, created_at: datetime
) -> auth_pb2.SecurityEvent:
    return auth_pb2.SecurityEvent(
        event_id=str(event_id),
        type=event.type,
        create_time=timestamp(created_at),
        account_id="" if event.account_id is None else str(event.account_id),
        session_id="" if event.session_id is None else str(event.session_id),
        email=event.email or "",
        client=_client_to_proto(event.client),
    )


def session_to_proto(session: SessionRecord) -> auth_pb2.Session:
    """Return the protobuf form of a session."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        create_time=timestamp(session.created_at),
        use_time=timestamp(session.used_at),
        client=_client_to_proto(session.client),
    )


def _client_to_proto(client: Client) -> auth_pb2.ClientInfo | None:
    if client == UNKNOWN_CLIENT:
        return None
    return auth_pb2.ClientInfo(address=client.address, user_agent=client.user_agent)
