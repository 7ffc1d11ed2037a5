"""mailroom.auth.v1.ProviderTokenService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.errors import account_not_found
from services.auth.provider_grants.provider_tokens import ProviderTokens
from services.auth.rpc.from_proto import uuid_or_none
from services.auth.rpc.to_proto import timestamp
from services.kit.rpc.server import Context


class ProviderTokenServicer(auth_pb2_grpc.ProviderTokenServiceServicer):
    """mailroom.auth.v1.ProviderTokenService."""

    def __init__(self, provider_tokens: ProviderTokens) -> None:
        self._provider_tokens = provider_tokens

    @override
    async def GetAccessToken(
        self, request: auth_pb2.GetAccessTokenRequest, context: Context
    ) -> auth_pb2.GetAccessTokenResponse:
        account_id, user_id = uuid_or_none(request.account_id), uuid_or_none(request.user_id)
        if account_id is None or user_id is None:
            # No account has such an id.
            raise account_not_found()
        token = await self._provider_tokens.get(
            account_id=account_id, user_id=user_id, refused_fingerprint=request.refused_token_fingerprint
        )
        return auth_pb2.GetAccessTokenResponse(access_token=token.value, expire_time=timestamp(token.expires_at))
