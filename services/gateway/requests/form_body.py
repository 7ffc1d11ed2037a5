"""Bodies of forms, which requests of OAuth have (RFC 6749 appendix B), beside JSON."""

from typing import Any

from fastapi import Depends

FORM_TYPE = "application/x-www-form-urlencoded"


async def _nothing() -> None:
    """Mark a route only."""


# In the `dependencies` of a route whose body may also be a form: its fields are strings.
FORM_BODY = Depends(_nothing)


def form_and_json(model: type[Any]) -> dict[str, Any]:
    """Return what the route's `openapi_extra` says: a form has the fields of the JSON object."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {FORM_TYPE: {"schema": schema}}}}
