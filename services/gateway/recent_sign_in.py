"""What cannot be undone needs a recent sign-in, and a session that has not ended."""

from mailroom.auth.v1.auth_pb2 import VerifyRecentSignInRequest

from services.gateway.caller import Caller
from services.gateway.clients import Services
from services.kit.rpc.client import call


async def require_recent_sign_in(services: Services, caller: Caller, *, user_deletion: bool = False) -> None:
    """Ask auth, since an access token does not show that its session has ended.

    `user_deletion` lets a deletion be asked for again by the access token that began it. Raises AppError invalid_token,
    reauthentication_required.
    """
    request = VerifyRecentSignInRequest(
        user_id=caller.user_id, session_id=caller.session_id, user_deletion=user_deletion
    )
    await call(services.sessions.VerifyRecentSignIn, request)
