"""The OpenAPI document: problem documents, which FastAPI does not know, names of operations, and tags."""

import re
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from services.gateway.access import KEYS_ONLY, codes_of, requirement_of
from services.gateway.errors import PROBLEM_TYPE
from services.gateway.problems.error_codes import ERROR_CODES
from services.gateway.schemas.problems import Problem
from services.gateway.schemas.webhook_document import add_webhooks
from services.kit.scopes import Scope

_REFERENCE = "#/components/schemas/"
_PROBLEMS = {PROBLEM_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}}
# Codes that every route can give.
_OF_ALL = ("invalid_request", "unsupported_content_encoding")
_FAILURES = ("internal", "service_unavailable", "deadline_exceeded")

_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "mr_...",
    "description": "An API key of an application, or of an operator; it needs the scope that the operation names",
}

DESCRIPTION = """\
Mailroom gives an application access to its users' mailboxes: it keeps a copy of the mail, keeps the copy current, and
serves it here. All routes are v1, which only grows: clients ignore fields, values and codes that they do not know.

A request bears an API key, or the access token of a user: `Authorization: Bearer ...`. A back end begins with a key, a
connect session and a sync.

Every failure is `application/problem+json` (RFC 9457) with a stable `code`.
"""
# Their order is that of pages: what most applications begin with comes first.
TAGS = [
    {"name": "connect", "description": "Connecting mailboxes of users of an application"},
    {"name": "mailboxes", "description": "Connected mailboxes"},
    {"name": "syncs", "description": "Bringing the copy of a mailbox up to date"},
    {"name": "emails", "description": "Stored mail: lists, search, messages, threads, labels, changes"},
    {"name": "webhooks", "description": "Webhooks of an application: events that Mailroom sends"},
    {"name": "users", "description": "Users of an application"},
    {"name": "keys", "description": "API keys of an application"},
    {"name": "usage", "description": "What an application uses"},
    {"name": "audit", "description": "What happened in an application"},
    {"name": "sign-in", "description": "Signing in through a provider, and linking further accounts"},
    {"name": "sessions", "description": "Sessions of the user, and the user"},
    {"name": "applications", "description": "Applications, for operators"},
    {"name": "addresses", "description": "Connected mailboxes by their older name"},
    {"name": "hooks", "description": "Notifications from providers"},
    {"name": "health", "description": "State of the process"},
]

# The `responses` of a route that erases in the background.
ERASING: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {"description": "Out of sight; being erased"},
    HTTPStatus.NO_CONTENT.value: {"description": "Erased"},
}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that gives these error codes, and those that every route can give."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys((*_OF_ALL, *codes)):
        by_status[ERROR_CODES[code].value].append(code)
    named: dict[int | str, dict[str, Any]] = {
        status: {"description": _described(HTTPStatus(status).phrase, own), "content": _PROBLEMS}
        for status, own in sorted(by_status.items())
    }
    return {**named, "default": {"description": _described("Any other failure", _FAILURES), "content": _PROBLEMS}}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function in camel case: `list_emails` is `listEmails`."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document holds the schemas that `problems` refers to."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            schema = TypeAdapter(Problem).json_schema(ref_template=_REFERENCE + "{model}")
            schema["properties"]["code"] |= {"anyOf": [{"$ref": f"{_REFERENCE}ErrorCode"}, {"type": "string"}]}
            del schema["properties"]["code"]["type"]
            codes = {"type": "string", "enum": sorted(ERROR_CODES), "description": "The codes of this version"}
            document = super().openapi()
            for methods in document["paths"].values():
                for operation in methods.values():
                    _add_access(operation)
            document["components"]["securitySchemes"]["ApiKey"] = _API_KEY
            add_webhooks(document, reference=_REFERENCE)
            document["components"]["schemas"] |= schema.pop("$defs") | {"Problem": schema, "ErrorCode": codes}
        return super().openapi()


def _add_access(operation: dict[str, Any]) -> None:
    """Describe what the operation asks of its caller, as its row in access.py says."""
    name = operation["operationId"]
    requirement = requirement_of(name)
    responses = operation["responses"]
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes_of(name):
        by_status[ERROR_CODES[code].value].append(code)
    for status, codes in by_status.items():
        earlier = re.findall("`([a-z_]+)`", responses.get(str(status), {}).get("description", ""))
        description = _described(HTTPStatus(status).phrase, [*earlier, *codes])
        responses[str(status)] = {"description": description, "content": _PROBLEMS}
    if isinstance(requirement, Scope):
        users = [] if name in KEYS_ONLY else operation.get("security", [])
        operation["security"] = [*users, {"ApiKey": [str(requirement)]}]
        operation["description"] += f"\n\nAn API key needs the scope `{requirement}`."


def _described(phrase: str, codes: tuple[str, ...] | list[str]) -> str:
    return f"{phrase}: {', '.join(f'`{code}`' for code in codes)}"
