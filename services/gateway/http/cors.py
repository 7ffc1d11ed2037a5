"""Access for pages of other origins. Source: the CORS protocol of the Fetch standard."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import override

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from services.gateway.errors import problem

CORS_NOT_ALLOWED = "cors_not_allowed"
# Headers beyond those that the standard lets every page send and read.
REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID"),
    *("Prefer", "Range", "X-Request-Id"),
)
EXPOSED_HEADERS = (
    *(
        "Accept-Encoding",
        "Accept-Ranges",
        "Allow",
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Location",
        "Preference-Applied",
    ),
    *("RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id"),
)


class Cors(CORSMiddleware):
    """Starlette's middleware, whose refusals are problems."""

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        allowed = {
            name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")
        }
        # Starlette's text names origin, method or headers: "Disallowed CORS origin".
        return problem(
            status=HTTPStatus.BAD_REQUEST,
            code=CORS_NOT_ALLOWED,
            detail=f"{bytes(answer.body).decode()}.",
            headers=allowed,
        )


def allow_origins(app: FastAPI, origins: Sequence[str], *, routers: Iterable[APIRouter]) -> None:
    """Let pages of `origins` call every route of `routers`, with the methods that these have."""
    app.add_middleware(
        Cors,
        allow_origins=origins,
        allow_methods=_methods(routers),
        allow_headers=REQUEST_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )


def _methods(routers: Iterable[APIRouter]) -> list[str]:
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return sorted({"HEAD", *(method for route in routes for method in route.methods or ())})
