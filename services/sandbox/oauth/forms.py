"""Bodies and credentials of requests to OAuth endpoints."""

import base64
import binascii
from urllib.parse import parse_qs, unquote_plus

from starlette.requests import Request

MAX_FORM_BYTES = 64 * 1024

type Form = dict[str, str]


class MalformedHeaderError(ValueError):
    """The Authorization header holds no readable pair of credentials."""


async def read_form(request: Request) -> Form:
    """Return the form fields, of a repeated one the last. An oversized body, or one of another type, has none."""
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """Return id and secret of a Basic header, None for other schemes. Raises MalformedHeaderError."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise MalformedHeaderError from None
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
