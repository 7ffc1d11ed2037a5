"""Access for pages of other origins. Source: the CORS protocol of the Fetch standard."""

from collections.abc import Iterable, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

# Headers beyond those that the standard lets every page send and read.
_REQUEST_HEADERS = ("Authorization", "Content-Type", "If-None-Match", "If-Range", "Prefer", "Range", "X-Request-Id")
EXPOSED_HEADERS = (
    *("Accept-Ranges", "Allow", "Content-Disposition", "Content-Range", "ETag", "Location", "Preference-Applied"),
    *("Retry-After", "WWW-Authenticate", "X-Request-Id"),
)


def allow_origins(app: FastAPI, origins: Sequence[str], *, routers: Iterable[APIRouter]) -> None:
    """Let pages of `origins` call every route of `routers`, with the methods that these have."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=_methods(routers),
        allow_headers=_REQUEST_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )


def _methods(routers: Iterable[APIRouter]) -> list[str]:
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return sorted({method for route in routes for method in route.methods or ()})
