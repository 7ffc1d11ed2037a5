"""mailroom.auth.v1.SignInService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.model import Account
from services.auth.rpc.from_proto import client_of, user_id_of, uuid_or_none
from services.auth.rpc.to_proto import session_tokens, timestamp
from services.auth.sign_in.outcomes import AuthorizationResponse, Completed, Refused, ReturnToApplication
from services.auth.sign_in.sign_in import SignIn
from services.kit.rpc.server import Context


class SignInServicer(auth_pb2_grpc.SignInServiceServicer):
    """mailroom.auth.v1.SignInService."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @override
    async def StartSignIn(self, request: auth_pb2.StartSignInRequest, context: Context) -> auth_pb2.StartSignInResponse:
        link_to = user_id_of(request.user_id) if request.user_id else None
        started = await self._sign_in.start(
            request.provider,
            client_challenge=request.code_challenge,
            link_to=link_to,
            max_age=request.max_age_seconds if request.HasField("max_age_seconds") else None,
        )
        return auth_pb2.StartSignInResponse(
            authorization_url=started.authorization_url,
            state=started.state,
            expire_time=timestamp(started.expires_at),
        )

    @override
    async def CompleteSignIn(
        self, request: auth_pb2.CompleteSignInRequest, context: Context
    ) -> auth_pb2.CompleteSignInResponse:
        response = AuthorizationResponse(state=request.state, code=request.code, error=request.error, iss=request.iss)
        outcome = await self._sign_in.complete(request.provider, response=response, client=client_of(request.client))
        if isinstance(outcome, Completed):
            return auth_pb2.CompleteSignInResponse(login_code=outcome.login_code)
        if isinstance(outcome, Refused):
            return auth_pb2.CompleteSignInResponse(error=outcome.error)
        if isinstance(outcome, ReturnToApplication):
            return auth_pb2.CompleteSignInResponse(return_url=outcome.url)
        return auth_pb2.CompleteSignInResponse(authorization_url=outcome.authorization_url)

    @override
    async def RedeemSignIn(
        self, request: auth_pb2.RedeemSignInRequest, context: Context
    ) -> auth_pb2.RedeemSignInResponse:
        redeemed = await self._sign_in.redeem(
            request.login_code,
            code_verifier=request.code_verifier,
            redeemed_by=uuid_or_none(request.user_id),
            client=client_of(request.client),
        )
        if isinstance(redeemed, Account):
            return auth_pb2.RedeemSignInResponse(linked_account_id=str(redeemed.account_id))
        return auth_pb2.RedeemSignInResponse(user_id=str(redeemed.user_id), **session_tokens(redeemed))
