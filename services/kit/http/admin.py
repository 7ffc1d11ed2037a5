"""The admin port of every process: liveness, readiness and metrics. Never public."""

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.kit.http.readiness import ReadinessCheck


async def _nothing() -> None:
    pass


def admin_app(
    *, ready: ReadinessCheck, registry: CollectorRegistry, refresh: Callable[[], Awaitable[None]] = _nothing
) -> Starlette:
    """Return an application with `/livez`, `/readyz` and `/metrics`.

    `/readyz` answers 200 or 503 by `ready`, which tells about this process and not about its peers. `refresh` is
    awaited before the metrics are written.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ok = await ready()
        return JSONResponse({"status": "ok" if ok else "not ready"}, status_code=200 if ok else 503)

    async def metrics(_: Request) -> Response:
        await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
