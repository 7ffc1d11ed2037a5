"""Requests of providers: notifications, and whether they may send such. A route exists only where it is configured."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import Request, Response
from mailroom.mail.v1.mail_pb2 import AcceptPushRequest

from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.requests.routing import CALLED_BY_PROVIDERS, Router
from services.kit.rpc.client import call

# Seconds. Some providers wait for ten seconds before they send again.
_TIMEOUT = 8.0


def push_router(providers: Sequence[str]) -> Router:
    """Return the routes POST /hooks/{provider} of these providers; mail verifies who called them."""
    router = Router(prefix="/hooks", tags=["hooks"], dependencies=[CALLED_BY_PROVIDERS])
    for provider in providers:
        router.add_api_route(
            f"/{provider}",
            _accept,
            methods=["POST"],
            name=f"accept_{provider}_push",
            status_code=HTTPStatus.NO_CONTENT,
            responses=problems(
                "missing_token", "invalid_token", "request_too_large", "service_unavailable", "provider_unavailable"
            ),
        )
    return router


async def _accept(services: Backends, request: Request) -> Response:
    """Accept a notification that the provider sends, and answer as it expects."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    answer = await call(
        services.syncs.AcceptPush,
        AcceptPushRequest(
            provider=request.url.path.rpartition("/")[2],
            token=token if scheme.lower() == "bearer" else "",
            body=await request.body(),
            headers=[
                AcceptPushRequest.Header(name=name, value=value)
                for name, value in request.headers.items()
                if name != "cookie"
            ],
            query=request.url.query,
        ),
        timeout=_TIMEOUT,
    )
    return Response(
        answer.body, status_code=answer.status or HTTPStatus.NO_CONTENT, media_type=answer.content_type or None
    )
