"""The JSON of every error."""

from typing import Annotated, NotRequired, TypedDict

from pydantic import Field


class FieldError(TypedDict):
    """One wrong field of a request."""

    field: Annotated[str, Field(description="A parameter, or a path into the body", examples=["limit"])]
    message: Annotated[str, Field(description="What is wrong with it, for people", examples=["must be at most 200"])]


class Problem(TypedDict):
    """A problem of RFC 9457. `code` is stable and explained in the error catalogue."""

    type: Annotated[str, Field(description="A URI made of the code", examples=["urn:mailroom:error:message_not_found"])]
    title: Annotated[str, Field(description="The phrase of the status", examples=["Not Found"])]
    status: Annotated[int, Field(description="The HTTP status", examples=[404])]
    detail: Annotated[str, Field(description="What happened, for people; it may be reworded")]
    code: Annotated[str, Field(description="What happened, for programs; codes may be added")]
    request_id: Annotated[str, Field(description="Quote it in reports: every log line of the request has it")]
    errors: NotRequired[Annotated[list[FieldError], Field(description="The wrong fields, with `invalid_request`")]]
    column: NotRequired[Annotated[int, Field(description="Where in `q` the mistake is, from 1")]]
