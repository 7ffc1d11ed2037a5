"""mailroom.auth.v1.SigningKeyService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.sessions.signing_keys import SigningKeys
from services.kit.rpc.server import Context


class SigningKeyServicer(auth_pb2_grpc.SigningKeyServiceServicer):
    """mailroom.auth.v1.SigningKeyService."""

    def __init__(self, signing_keys: SigningKeys) -> None:
        self._signing_keys = signing_keys

    @override
    async def ListVerificationKeys(
        self, request: auth_pb2.ListVerificationKeysRequest, context: Context
    ) -> auth_pb2.ListVerificationKeysResponse:
        return auth_pb2.ListVerificationKeysResponse(jwks=await self._signing_keys.jwks())
