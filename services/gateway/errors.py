"""Every failure as problem+json (RFC 9457) with a stable `code` from docs/errors.md."""

import math
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.problems.field_errors import field_errors
from services.gateway.schemas.problems import FieldError
from services.kit.context import REQUEST_ID_HEADER, request_id, start_request
from services.kit.errors import AppError, Kind, internal_error
from services.kit.http.bounds import Refusal

PROBLEM_TYPE = "application/problem+json"

# Errors that the framework raises.
FRAMEWORK_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: ("malformed_json", "The body is not valid JSON."),
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not support the method."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("request_too_large", "The body is too large."),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ("range_not_satisfiable", "The range lies outside of the content."),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "Send the body as application/json."),
}
INVALID_REQUEST = "invalid_request"
INTERNAL = internal_error()


def problem(
    *,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] | None = None,
    column: str | None = None,
) -> Response:
    """Return a problem document; `errors` lists the wrong fields of the request, `column` points into a query."""
    body: dict[str, Any] = {
        "type": f"urn:mailroom:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id(),
    }
    if errors:
        body["errors"] = list(errors)
    if column:
        body["column"] = int(column)
    return Response(to_json(body), status_code=status, headers=headers, media_type=PROBLEM_TYPE)


def from_app_error(error: AppError) -> Response:
    """Return the problem of an AppError, with the headers of its kind."""
    headers: dict[str, str] = {}
    if error.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = _challenge(error)
    if error.reason == "insufficient_scope":
        # RFC 6750 section 3.1.
        headers["WWW-Authenticate"] = (
            f'Bearer realm="mailroom", error="insufficient_scope", scope="{error.metadata["scope"]}"'
        )
    if error.kind in (Kind.RATE_LIMITED, Kind.UNAVAILABLE) and (seconds := _retry_after(error)):
        headers["Retry-After"] = seconds
    return problem(
        status=error.kind.http_status,
        code=error.reason,
        detail=error.message,
        headers=headers,
        column=error.metadata.get("column"),
    )


def from_refusal(refusal: Refusal) -> Response:
    """Return the problem of a request that the server refuses before the application sees it."""

    def refused() -> Response:
        identifier = start_request(request_id=None)
        headers = {"Cache-Control": "no-store", REQUEST_ID_HEADER: identifier}
        return problem(status=refusal.status, code=refusal.code, detail=refusal.detail, headers=headers)

    # The connection's next request has a context and an id of its own.
    return copy_context().run(refused)


def register(app: FastAPI) -> None:
    """Turn exceptions of routes and of the framework into problems; unknown ones reach middleware.CatchAll."""

    @app.exception_handler(AppError)
    async def app_error(_: Request, error: AppError) -> Response:
        return from_app_error(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        return _from_validation(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The router names the methods of one route only.
            methods = request.app.state.methods_of(request.scope["path"])
            headers |= {"Allow": ", ".join(sorted(methods))} if methods else {}
        code, detail = FRAMEWORK_PROBLEMS.get(HTTPStatus(error.status_code), (INTERNAL.reason, INTERNAL.message))
        return problem(status=error.status_code, code=code, detail=detail, headers=headers)


def _challenge(error: AppError) -> str:
    # RFC 6750 section 3.1: a request without credentials gets no error code.
    if error.reason == "missing_token":
        return 'Bearer realm="mailroom"'
    # RFC 9470 section 3.
    is_too_old = error.reason == "reauthentication_required"
    code = "insufficient_user_authentication" if is_too_old else "invalid_token"
    return f'Bearer realm="mailroom", error="{code}", error_description="{error.message}"'


def _retry_after(error: AppError) -> str | None:
    try:
        return str(max(1, math.ceil(float(error.metadata["retry_after"]))))
    except (KeyError, ValueError, OverflowError):
        return None


def _from_validation(error: RequestValidationError) -> Response:
    problems = error.errors()
    if any(item["type"] == "json_invalid" for item in problems):
        code, detail = FRAMEWORK_PROBLEMS[HTTPStatus.BAD_REQUEST]
        return problem(status=HTTPStatus.BAD_REQUEST, code=code, detail=detail)
    fields = field_errors(problems)
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in fields)
    return problem(status=HTTPStatus.BAD_REQUEST, code=INVALID_REQUEST, detail=detail, errors=fields)
