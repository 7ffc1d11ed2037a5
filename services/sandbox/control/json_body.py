"""JSON bodies and errors of the control API."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MAX_BODY_BYTES = 1024 * 1024


class ControlBody(BaseModel):
    """Base of all bodies. Refuses unknown fields and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ControlError(HTTPException):
    """An error response of the control API: status, message, and problems by field."""

    def __init__(self, status: int, message: str, *, problems: list[dict[str, str]] | None = None) -> None:
        super().__init__(status, message)
        self.problems = problems


async def read_body[T: BaseModel](request: Request, model: type[T]) -> T:
    """Parse the body as `model`; an empty body counts as `{}`. Raises ControlError 400 that names every wrong field."""
    data = await request.body()
    if len(data) > MAX_BODY_BYTES:
        raise ControlError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        problems = [
            {"field": ".".join(str(part) for part in problem["loc"]), "message": problem["msg"]}
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        first = problems[0]
        message = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        raise ControlError(400, message, problems=problems) from None


async def render_error(_: Request, error: Exception) -> Response:
    """Exception handler: respond `{"error": {"status", "message", "problems"?}}`."""
    if not isinstance(error, HTTPException):
        raise error
    body: dict[str, Any] = {"status": error.status_code, "message": error.detail}
    if isinstance(error, ControlError) and error.problems:
        body["problems"] = error.problems
    return JSONResponse({"error": body}, error.status_code, headers=error.headers)
