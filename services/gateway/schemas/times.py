"""Times in requests and responses."""

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError


def _written(value: object) -> object:
    """Refuse numbers, also in strings, which pydantic takes for Unix seconds: 7 would be a time in 1970."""
    if isinstance(value, str) and not value.replace(".", "").isdecimal():
        return value
    raise PydanticCustomError("mailroom.time", "must be a string, such as 2026-11-30T06:00:00Z")


WRITTEN = BeforeValidator(_written)
Moment = Annotated[AwareDatetime, WRITTEN]
"""A time in the body of a request."""
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC")]
"""A time in a response."""
