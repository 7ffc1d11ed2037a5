"""The JSON of every error."""

from typing import Annotated, NotRequired, TypedDict

from pydantic import Field


class FieldError(TypedDict):
    """One wrong field of a request."""

    field: str
    message: str


class Problem(TypedDict):
    """A problem of RFC 9457. `code` is stable and explained in the error catalogue."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: NotRequired[list[FieldError]]
    column: NotRequired[Annotated[int, Field(description="Where in `q` the mistake is, from 1")]]
