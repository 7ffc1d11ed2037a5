"""mailroom.auth.v1.ApiKeyService."""

from datetime import UTC
from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.applications.audit_events import AuditEvents
from services.auth.applications.revoked import Revoked
from services.auth.applications.token_exchange import TokenExchange
from services.auth.rpc.from_proto import account_id_of, client_of, scopes_of, user_id_of, uuid_or_none
from services.auth.rpc.to_proto import api_key_to_proto, audit_event_to_proto, key_event_to_proto, timestamp
from services.auth.sessions.access_tokens import AccessTokens
from services.auth.store.audit_events import AuditFilter
from services.kit.errors import AppError, Kind
from services.kit.rpc.server import Context


class ApiKeyServicer(auth_pb2_grpc.ApiKeyServiceServicer):
    """mailroom.auth.v1.ApiKeyService."""

    def __init__(
        self,
        api_keys: ApiKeys,
        audit_events: AuditEvents,
        access_tokens: AccessTokens,
        token_exchange: TokenExchange,
        revoked: Revoked,
    ) -> None:
        self._api_keys = api_keys
        self._audit_events = audit_events
        self._access_tokens = access_tokens
        self._token_exchange = token_exchange
        self._revoked = revoked

    @override
    async def VerifyApiKey(
        self, request: auth_pb2.VerifyApiKeyRequest, context: Context
    ) -> auth_pb2.VerifyApiKeyResponse:
        key = await self._api_keys.verify(
            request.api_key, address=request.client_address, client=client_of(request.client)
        )
        principal = await self._access_tokens.issue_for_key(key)
        return auth_pb2.VerifyApiKeyResponse(
            key=api_key_to_proto(key), principal=principal.value, expire_time=timestamp(principal.expires_at)
        )

    @override
    async def CreateApiKey(
        self, request: auth_pb2.CreateApiKeyRequest, context: Context
    ) -> auth_pb2.CreateApiKeyResponse:
        key, text = await self._api_keys.create_by_key(
            _rules_of(request), creator_id=request.manager_key_id, client=client_of(request.client)
        )
        return auth_pb2.CreateApiKeyResponse(key=api_key_to_proto(key), api_key=text.value)

    @override
    async def ListApiKeys(self, request: auth_pb2.ListApiKeysRequest, context: Context) -> auth_pb2.ListApiKeysResponse:
        keys = await self._api_keys.list_of(request.manager_key_id)
        return auth_pb2.ListApiKeysResponse(keys=map(api_key_to_proto, keys))

    @override
    async def ListApiKeyEvents(
        self, request: auth_pb2.ListApiKeyEventsRequest, context: Context
    ) -> auth_pb2.ListApiKeyEventsResponse:
        events = await self._api_keys.list_events(request.key_id, manager_id=request.manager_key_id)
        return auth_pb2.ListApiKeyEventsResponse(events=map(key_event_to_proto, events))

    @override
    async def ListAuditEvents(
        self, request: auth_pb2.ListAuditEventsRequest, context: Context
    ) -> auth_pb2.ListAuditEventsResponse:
        events, next_page_token = await self._audit_events.list_newest(
            _filter_of(request),
            manager_id=request.manager_key_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return auth_pb2.ListAuditEventsResponse(
            events=map(audit_event_to_proto, events), next_page_token=next_page_token
        )

    @override
    async def RevokeApiKey(
        self, request: auth_pb2.RevokeApiKeyRequest, context: Context
    ) -> auth_pb2.RevokeApiKeyResponse:
        await self._api_keys.revoke_by_key(
            request.key_id, manager_id=request.manager_key_id, client=client_of(request.client)
        )
        return auth_pb2.RevokeApiKeyResponse()

    @override
    async def ExchangeToken(
        self, request: auth_pb2.ExchangeTokenRequest, context: Context
    ) -> auth_pb2.ExchangeTokenResponse:
        exchanged = await self._token_exchange.exchange(
            request.acting_key_id, uuid_or_none(request.user_id), scopes=request.scopes
        )
        return auth_pb2.ExchangeTokenResponse(
            access_token=exchanged.token.value,
            expire_time=timestamp(exchanged.token.expires_at),
            scopes=sorted(exchanged.scopes),
        )

    @override
    async def ListRevocations(
        self, request: auth_pb2.ListRevocationsRequest, context: Context
    ) -> auth_pb2.ListRevocationsResponse:
        since = request.since_time.ToDatetime(tzinfo=UTC) if request.HasField("since_time") else None
        revoked = await self._revoked.list_since(since)
        return auth_pb2.ListRevocationsResponse(
            key_ids=revoked.key_ids,
            session_ids=map(str, revoked.session_ids),
            as_of_time=timestamp(revoked.as_of),
        )


def _filter_of(request: auth_pb2.ListAuditEventsRequest) -> AuditFilter:
    return AuditFilter(
        type=request.type or None,
        user_id=user_id_of(request.user_id) if request.user_id else None,
        account_id=account_id_of(request.account_id) if request.account_id else None,
        key_id=request.key_id or None,
        since=request.since_time.ToDatetime(tzinfo=UTC) if request.HasField("since_time") else None,
        until=request.until_time.ToDatetime(tzinfo=UTC) if request.HasField("until_time") else None,
    )


def _rules_of(request: auth_pb2.CreateApiKeyRequest) -> KeyRules:
    mailbox_ids = [uuid_or_none(value) for value in request.mailbox_ids]
    if None in mailbox_ids:
        raise AppError(Kind.INVALID, "invalid_key_rules", "A mailbox id is a UUID.")
    return KeyRules(
        name=request.name,
        scopes=scopes_of(request.scopes),
        mailbox_ids=frozenset(filter(None, mailbox_ids)) or None,
        networks=tuple(request.networks) or None,
        expires_at=request.expire_time.ToDatetime(tzinfo=UTC) if request.HasField("expire_time") else None,
    )
