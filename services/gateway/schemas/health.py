"""State of the process."""

from typing import TypedDict


class Health(TypedDict):
    """State of the process."""

    status: str
