"""What calls raise. Everything is a MailroomError."""

import httpx
from pydantic import ValidationError

from mailroom_client.models import Problem


class MailroomError(Exception):
    """The base of all errors."""


class UnreachableError(MailroomError):
    """No whole answer came: the server cannot be reached, or the connection broke."""


class UnexpectedResponseError(MailroomError):
    """An answer is not Mailroom's: of a proxy, or of another server."""


class ApiError(MailroomError):
    """A refusal. `code` is stable (docs/errors.md), `request_id` finds it in the server's logs.

    `retry_after` is in seconds, None where the server said nothing.
    """

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        told = (f"{error.field}: {error.message}" for error in problem.errors)
        fields = "".join(f"; {text}" for text in told if text not in problem.detail)
        super().__init__(f"{problem.code}: {problem.detail}{fields} (request {problem.request_id})")
        self.problem = problem
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        """The stable code."""
        return self.problem.code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self.problem.request_id


class NotAuthorizedError(ApiError):
    """401: the token is missing, has expired or was ended."""


class NotFoundError(ApiError):
    """404: it is not there, or belongs to another user."""


class TooManyRequestsError(ApiError):
    """429, after the client has waited as it may."""


class ResyncRequiredError(ApiError):
    """410 `resync_required`: the position is no longer valid. List again, and go on from a new position."""


_BY_STATUS = {401: NotAuthorizedError, 404: NotFoundError, 429: TooManyRequestsError}


def error_of(response: httpx.Response) -> MailroomError:
    """Return the error of a response that has been read and is no success."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return UnexpectedResponseError(f"{response.status_code} {response.reason_phrase} from {response.url}")
    return problem_error(problem, retry_after=retry_after_of(response))


def problem_error(problem: Problem, *, retry_after: float | None = None) -> ApiError:
    """Return the error of a problem."""
    if problem.code == "resync_required":
        return ResyncRequiredError(problem, retry_after=retry_after)
    return _BY_STATUS.get(problem.status, ApiError)(problem, retry_after=retry_after)


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, 10.2.3); Mailroom sends no dates."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
