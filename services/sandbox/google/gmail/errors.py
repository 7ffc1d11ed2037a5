"""Errors of the Gmail API in Google's two shapes.

Source: "Resolve errors" of the Gmail API guide for the old shape (`errors` only); responses since 2022 for the new one,
which adds `status` and sometimes `details`.
"""

import json
from dataclasses import dataclass, replace
from typing import Literal

from starlette.responses import Response

from services.sandbox.instruments.faults import Fault

Shape = Literal["old", "new"]
JSON_TYPE = "application/json; charset=UTF-8"

_STATUS_BY_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True, slots=True)
class GoogleError:
    """An error response: HTTP `code`, Google's `reason` and text. `status` follows from the code by default."""

    code: int
    reason: str
    message: str
    domain: str = "global"
    status: str | None = None
    inner_message: str | None = None
    location: str | None = None
    location_type: str | None = None
    detail: str | None = None
    detail_metadata: tuple[tuple[str, str], ...] = ()

    def body(self, shape: Shape = "new") -> bytes:
        """Return the JSON body."""
        entry: dict[str, str] = {
            "message": self.inner_message or self.message,
            "domain": self.domain,
            "reason": self.reason,
        }
        if self.location is not None:
            entry |= {"location": self.location, "locationType": self.location_type or "parameter"}
        error: dict[str, object] = {"code": self.code, "message": self.message, "errors": [entry]}
        if shape == "new":
            error["status"] = self.status or _STATUS_BY_CODE.get(self.code, "UNKNOWN")
            if self.detail is not None:
                error["details"] = [self._error_info(self.detail)]
        return json.dumps({"error": error}).encode()

    def _error_info(self, reason: str) -> dict[str, object]:
        return {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {"service": "gmail.googleapis.com", **dict(self.detail_metadata)},
        }


class CallRefusedError(Exception):
    """Ends a call with an error response."""

    def __init__(self, error: GoogleError) -> None:
        super().__init__(error.message)
        self.error = error


NOT_FOUND = GoogleError(404, "notFound", "Requested entity was not found.")
INVALID_ID = GoogleError(400, "invalidArgument", "Invalid id value")
INVALID_PAGE_TOKEN = GoogleError(400, "invalidArgument", "Invalid pageToken")
BACKEND_ERROR = GoogleError(500, "backendError", "Backend Error")
INVALID_CREDENTIALS = GoogleError(
    401,
    "authError",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    inner_message="Invalid Credentials",
    location="Authorization",
    location_type="header",
)
LOGIN_REQUIRED = GoogleError(
    401,
    "required",
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    inner_message="Login Required.",
    location="Authorization",
    location_type="header",
    detail="CREDENTIALS_MISSING",
)
TOO_MANY_CONCURRENT = GoogleError(429, "rateLimitExceeded", "Too many concurrent requests for user")


def invalid_argument(message: str) -> GoogleError:
    """Return the error of a request that can never succeed as it is."""
    return GoogleError(400, "invalidArgument", message)


def insufficient_scope(method: str) -> GoogleError:
    """Return the error of a token without any scope that allows `method`."""
    return GoogleError(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        inner_message="Insufficient Permission",
        detail="ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        detail_metadata=(("method", f"caribou.api.proto.MailboxService.{method}"),),
    )


def fault_error(fault: Fault, *, retry_time: str | None = None) -> GoogleError:
    """Return the error that a fault rule asks for: quota reasons with Google's domain, 401 with its location."""
    if fault.status == 401 and fault.reason == "backendError":
        return INVALID_CREDENTIALS
    domain = "usageLimits" if fault.reason.lower().endswith("limitexceeded") else "global"
    status = "FAILED_PRECONDITION" if fault.reason == "failedPrecondition" else None
    error = GoogleError(fault.status, fault.reason, fault.message, domain=domain, status=status)
    if retry_time is None:
        return error
    return replace(error, message=f"User-rate limit exceeded.  Retry after {retry_time}")


def json_response(body: bytes, status: int = 200) -> Response:
    """Respond with JSON bytes and Google's headers."""
    return Response(body, status, headers={"Content-Type": JSON_TYPE, "Vary": "Origin, X-Origin, Referer"})
