"""Liveness and readiness for load balancers."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import Request, Response

from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.health import Health

router = Router(tags=["health"])


@router.get("/healthz", response_model=Health)
async def get_liveness() -> Response:
    """Respond while the process lives."""
    return json_response_from({"status": "ok"})


@router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
async def get_readiness(request: Request) -> Response:
    """Respond 503 while starting or draining. The services behind do not count: restarts here would not help them."""
    ready: Callable[[], Awaitable[bool]] = request.app.state.ready
    if await ready():
        return json_response_from({"status": "ok"})
    return json_response_from({"status": "not ready"}, status=HTTPStatus.SERVICE_UNAVAILABLE)
