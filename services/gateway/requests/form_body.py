"""Bodies of forms, which requests of OAuth have (RFC 6749 appendix B), beside JSON.

The OpenAPI document names JSON only: openapi-python-client makes code that does not import of an operation with two
types of bodies.
"""

from fastapi import Depends

FORM_TYPE = "application/x-www-form-urlencoded"


async def _nothing() -> None:
    """Mark a route only."""


# In the `dependencies` of a route whose body may also be a form: its fields are strings.
FORM_BODY = Depends(_nothing)
