"""Reads the form of a request, which must come from a page of the console."""

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

_LARGEST_FORM = 16 * 1024
_FIELDS = 200


class ForeignFormError(Exception):
    """A form came from elsewhere: another origin's page, or one of an earlier session."""


class MalformedFormError(Exception):
    """A form is too large, or none that browsers send."""


type Form = Mapping[str, list[str]]


async def read_form(request: Request, *, origin: str, token: str | None) -> Form:
    """Return the fields of a form that a page of ours sent with the `token`, None for pages without a session.

    Raises ForeignFormError, MalformedFormError.
    """
    if not _is_same_origin(request, origin):
        raise ForeignFormError
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            raise MalformedFormError
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=_FIELDS
        ):
            fields.setdefault(name, []).append(value)
    except ValueError as error:
        raise MalformedFormError from error
    given = fields.get("form_token", [""])[0]
    if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
        raise ForeignFormError
    return fields


def first(form: Form, name: str, default: str = "") -> str:
    """Return the first value of a field."""
    return form.get(name, [default])[0]


def _is_same_origin(request: Request, origin: str) -> bool:
    """Whether the browser says that a page of this origin sent the request; one that says nothing is refused.

    Sec-Fetch-Site is on every request to HTTPS and to this machine; Origin is on every POST.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("origin") == origin
