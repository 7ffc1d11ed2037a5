"""docs/api.md lists every route of the gateway, and nothing else."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

from fastapi.routing import APIRoute

from services.gateway import routes
from services.gateway.routes import push
from tests.support.docs.documents import ROOT


def described_routes() -> Iterator[APIRoute]:
    """Every route that OpenAPI describes."""
    found = pkgutil.walk_packages(routes.__path__, prefix=f"{routes.__name__}.")
    modules = [importlib.import_module(one.name) for one in found if not one.ispkg]
    for router in (*(module.router for module in modules if module is not push), push.push_router(["google"])):
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                yield route


def served() -> Iterator[str]:
    """Method and path of every route."""
    for route in described_routes():
        yield from (f"{method} {route.path}" for method in route.methods or ())


def test_lists_every_route_once() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([A-Z]+ /\S+)` \|", text, re.MULTILINE)) == sorted(served())
