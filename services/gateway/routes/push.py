"""Notifications from providers. The route exists only where they are configured."""

from http import HTTPStatus

from fastapi import Request, Response
from mailroom.mail.v1.mail_pb2 import AcceptPushRequest

from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.requests.routing import CALLED_BY_PROVIDERS, Router
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/hooks", tags=["hooks"], dependencies=[CALLED_BY_PROVIDERS])

# Seconds. Cloud Pub/Sub waits for ten seconds by default before it delivers again.
_TIMEOUT = 8.0


@router.post(
    "/google",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(
        "missing_token", "invalid_token", "request_too_large", "service_unavailable", "provider_unavailable"
    ),
)
async def accept_google_push(services: Backends, request: Request) -> Response:
    """Accept a Gmail notification, pushed by Cloud Pub/Sub with the token of its service account."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AppError(Kind.UNAUTHENTICATED, "missing_token", "Send the push service account's token.")
    await call(services.syncs.AcceptPush, AcceptPushRequest(token=token, body=await request.body()), timeout=_TIMEOUT)
    return Response(status_code=HTTPStatus.NO_CONTENT)
