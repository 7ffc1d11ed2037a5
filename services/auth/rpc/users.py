"""mailroom.auth.v1.UserService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.provider_grants.accounts import Accounts
from services.auth.rpc.from_proto import user_id_of
from services.auth.rpc.to_proto import account_to_proto, event_to_proto, timestamp
from services.auth.security_events import SecurityEvents
from services.kit.rpc.server import Context


class UserServicer(auth_pb2_grpc.UserServiceServicer):
    """mailroom.auth.v1.UserService."""

    def __init__(self, accounts: Accounts, events: SecurityEvents) -> None:
        self._accounts = accounts
        self._events = events

    @override
    async def GetUser(self, request: auth_pb2.GetUserRequest, context: Context) -> auth_pb2.GetUserResponse:
        user, accounts = await self._accounts.describe(user_id_of(request.user_id))
        return auth_pb2.GetUserResponse(
            user_id=str(user.user_id),
            create_time=timestamp(user.created_at),
            accounts=[account_to_proto(account) for account in accounts],
        )

    @override
    async def ListSecurityEvents(
        self, request: auth_pb2.ListSecurityEventsRequest, context: Context
    ) -> auth_pb2.ListSecurityEventsResponse:
        events, next_page_token = await self._events.list_newest(
            user_id_of(request.user_id), page_size=request.page_size, page_token=request.page_token
        )
        return auth_pb2.ListSecurityEventsResponse(
            events=[event_to_proto(event) for event in events], next_page_token=next_page_token
        )
