"""JSON answers without FastAPI's validation of what we built ourselves."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic_core import to_json
from starlette.responses import Response


def json_answer(
    body: Mapping[str, object], *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """`body` as JSON."""
    return Response(to_json(body), status_code=status, headers=headers, media_type="application/json")
