"""Pages for people. A setting turns the description of the API off."""

from http import HTTPStatus
from typing import Annotated

from fastapi import HTTPException, Path, Request, Response
from pydantic_core import to_json

from services.gateway.pages import DOCS_POLICY, LANDING_POLICY, asset, page
from services.gateway.requests.routing import Router

router = Router(include_in_schema=False)
docs = Router(include_in_schema=False)

_DOCS_LINKS = (
    '<li><a href="docs">Documentation</a> of every route, to try out</li>\n'
    '<li><a href="openapi.json">OpenAPI document</a>, from which clients are made</li>\n'
)
# Seconds for which browsers keep an asset.
_ASSET_AGE = 3600


@router.get("/")
async def show_landing_page(request: Request) -> Response:
    """Show what this address is."""
    links = _DOCS_LINKS if request.app.state.has_docs else ""
    return _html(page("landing").replace("{{DOCS}}", links), LANDING_POLICY)


@router.get("/assets/{name}")
async def get_asset(name: Annotated[str, Path()]) -> Response:
    """Get a file that a page loads."""
    found = asset(name)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {"Cache-Control": f"public, max-age={_ASSET_AGE}"}
    return Response(found.content, headers=headers, media_type=found.media_type)


@docs.get("/docs")
async def show_docs() -> Response:
    """Show the OpenAPI document by Swagger UI."""
    return _html(page("docs"), DOCS_POLICY)


@docs.get("/openapi.json")
async def get_openapi_document(request: Request) -> Response:
    """Get the OpenAPI document."""
    return Response(to_json(request.app.openapi()), media_type="application/json")


def _html(content: str, policy: str) -> Response:
    headers = {"Content-Security-Policy": policy}
    return Response(content, headers=headers, media_type="text/html; charset=utf-8")
