"""Checks of a request before its route reads it: unknown or doubled parameters and fields, UTF-8, content encodings."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from types import MappingProxyType
from typing import Any, NoReturn, override
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError

# A refusal shows so much of a name, and so many names.
_LONGEST_NAME = 100
_MOST_ERRORS = 20
_JSON_TYPE = "application/json"


class StrictRequest(Request):
    """A request whose JSON is UTF-8 (RFC 8259 section 8.1) without doubled names and without NaN.

    `query` holds the parameters that `check_query` has passed.
    """

    query: Mapping[str, str] = MappingProxyType({})
    _json: Any

    async def read_form(self, *, known: frozenset[str]) -> "StrictRequest":
        """Return the request with its form as a JSON object of strings.

        Raises RequestValidationError for fields that are not of `known`, doubled ones and those that are not UTF-8.
        """
        fields = check_query(await self.body(), known=known, part="body")
        others = [header for header in self.scope["headers"] if header[0] != b"content-type"]
        as_json = {**self.scope, "headers": [*others, (b"content-type", _JSON_TYPE.encode())]}
        read = StrictRequest(as_json, self.receive)
        read._body, read._json, read.query = self._body, fields, self.query
        return read

    @override
    async def json(self) -> Any:
        """Return the body. Raises RequestValidationError for doubled names, else ValueError or RecursionError."""
        if not hasattr(self, "_json"):
            text = (await self.body()).decode()
            self._json = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        return self._json


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def check_body(request: StrictRequest, *, known: frozenset[str]) -> None:
    """Read a body, and refuse fields that are not of `known`: pydantic would name each of thousands.

    Raises HTTPException 415 and 400, RequestValidationError.
    """
    if not await request.body():
        return
    if media_type(request) != _JSON_TYPE:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    if isinstance(body, dict):
        refuse((name for name in body if name not in known), "extra_forbidden", part="body")


def check_path(request: Request) -> None:
    """Refuse a path that is not UTF-8. Raises RequestValidationError."""
    # Servers decode paths and put this for what they cannot read; it may also stand there itself.
    if "\ufffd" in request.scope["path"] and _text(unquote_to_bytes(request.scope["raw_path"])) is None:
        refuse(["path"], "string_unicode", part="path")


def check_query(query: bytes, *, known: frozenset[str], part: str = "query") -> dict[str, str]:
    """Return the parameters by name. Raises RequestValidationError for others than `known`, doubled, not UTF-8."""
    parameters = _parameters(query, part)
    found = dict(parameters)
    if len(found) < len(parameters) or not known.issuperset(found):
        times = Counter(name for name, _ in parameters)
        refuse((name for name in times if name not in known), "extra_forbidden", part=part)
        refuse((name for name in times if times[name] > 1), "doubled", part=part)
    return found


def refuse(names: Iterable[str], kind: str, *, part: str = "query") -> None:
    """Raise RequestValidationError if there are names."""
    errors = [{"type": kind, "loc": (part, _shown(name)), "input": None} for name in islice(names, _MOST_ERRORS)]
    if errors:
        raise RequestValidationError(errors)


def _shown(name: str) -> str:
    # JSON can spell halves of characters (lone surrogates), which no response can show.
    return name[:_LONGEST_NAME].encode(errors="replace").decode()


def _parameters(query: bytes, part: str) -> list[tuple[str, str]]:
    parameters = []
    for item in query.split(b"&"):
        if not item:
            continue
        raw_name, _, raw_value = item.replace(b"+", b" ").partition(b"=")
        name, value = _text(unquote_to_bytes(raw_name)), _text(unquote_to_bytes(raw_value))
        if name is None or value is None:
            refuse([name or part], "string_unicode", part=part)
        parameters.append((str(name), str(value)))
    return parameters


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(name for name, _ in pairs)
        refuse((name for name in times if times[name] > 1), "doubled", part="body")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
