"""The operations of the REST API, from its own description."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.console.gateway.calls import Call
from services.console.gateway.client import Json
from services.console.pages.visit import Visit, Visited

router = APIRouter()

_DOCUMENT = Call("GET", "/openapi.json", "mailroom.is_ready()")
_METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/api")
async def show_operations(visit: Visited, q: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Show every operation, or those with the words of `q`."""
    document = await _document(visit)
    found = [] if document is None else _operations(document)
    wanted = [each for each in found if all(word in each["searched"] for word in q.casefold().split())]
    # In the order of the document's tags.
    groups: dict[str, list[Json]] = {tag["name"]: [] for tag in (document or {}).get("tags", ())}
    for operation in wanted:
        groups.setdefault(operation["tag"], []).append(operation)
    groups = {name: operations for name, operations in groups.items() if operations}
    return visit.show("api.html", groups=groups, has_document=document is not None, q=q, count=len(wanted))


async def _document(visit: Visit) -> Json | None:
    """Return the OpenAPI document, None where the gateway shows none (GATEWAY_DOCS)."""
    answer, _ = await visit.attempt(_DOCUMENT)
    return answer


def _operations(document: Json) -> list[Json]:
    return [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    ]


def _operation(method: str, path: str, operation: Json) -> Json:
    parameters = [
        {
            "name": each["name"],
            "place": each["in"],
            "required": each.get("required", False),
            "description": each.get("description", ""),
        }
        for each in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    sample = Call(method.upper(), path, "", body={"…": "…"} if body else None)
    summary = operation.get("summary") or operation.get("operationId", "")
    words = (method, path, summary, operation.get("description", ""))
    return {
        "method": method.upper(),
        "path": path,
        "anchor": operation.get("operationId", path),
        "summary": summary,
        "description": operation.get("description", ""),
        "tag": (operation.get("tags") or ["other"])[0],
        "parameters": parameters,
        "has_body": bool(body),
        "answers": sorted(operation.get("responses", {})),
        "sample": sample,
        "searched": " ".join(words).casefold() + json.dumps(parameters).casefold(),
    }
