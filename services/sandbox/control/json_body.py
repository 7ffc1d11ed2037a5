"""How the control API reads its bodies and says what is wrong with them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MAX_BODY_BYTES = 1024 * 1024


class ControlBody(BaseModel):
    """Base of all bodies: unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ControlError(HTTPException):
    """Ends a control call with a status and a JSON error."""

    def __init__(self, status: int, message: str, *, problems: list[dict[str, str]] | None = None) -> None:
        super().__init__(status, message)
        self.problems = problems


async def read_body[T: BaseModel](request: Request, model: type[T]) -> T:
    """The body as `model`; an empty one counts as `{}`. ControlError 400 names every field that is wrong."""
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
    """Exception handler: `{"error": {"status", "message", "problems"?}}`."""
    if not isinstance(error, HTTPException):
        raise error
    body: dict[str, Any] = {"status": error.status_code, "message": error.detail}
    if isinstance(error, ControlError) and error.problems:
        body["problems"] = error.problems
    return JSONResponse({"error": body}, error.status_code, headers=error.headers)
