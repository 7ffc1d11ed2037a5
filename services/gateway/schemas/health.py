"""State of the process."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field


class Health(TypedDict):
    """State of the process."""

    status: Annotated[Literal["ok", "not ready"], Field(description="`not ready` while it starts or stops")]
