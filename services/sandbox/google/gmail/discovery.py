"""The API's discovery document, from which Google's clients are built: its methods, parameters and resources.

Source: https://developers.google.com/discovery/v1/reference/apis. Descriptions are left out.
"""

import re
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox.google.gmail.errors import NOT_FOUND, json_response
from services.sandbox.google.gmail.methods.method_call import COMMON_PARAMS, Method
from services.sandbox.google.gmail.methods.write_methods import MAX_INSERT_BYTES, MAX_SEND_BYTES
from services.sandbox.google.gmail.schema import SCHEMA
from services.sandbox.google.oauth.scopes import GMAIL_WORDS

# Types by the names of fields and parameters; a name that means several things has its owner before it.
_TYPES: dict[str, dict[str, object]] = {
    name: {"type": kind, "format": form} if form else {"type": kind}
    for kind, form, names in (
        ("string", "uint64", "historyId startHistoryId History.id"),
        ("string", "int64", "internalDate expiration"),
        ("string", "byte", "raw data"),
        ("integer", "int32", "sizeEstimate size port messagesTotal messagesUnread threadsTotal threadsUnread"),
        ("integer", "uint32", "resultSizeEstimate maxResults"),
        ("boolean", "", "isDefault isPrimary treatAsAlias includeSpamTrash deleted neverMarkSpam processForCalendar"),
        ("boolean", "", "prettyPrint"),
    )
    for name in names.split()
}
_CHOICES = {
    "alt": "json media proto",
    "format": "minimal full raw metadata",
    "threads.get.format": "full metadata minimal",
    "historyTypes": "messageAdded messageDeleted labelAdded labelRemoved",
    "internalDateSource": "receivedTime dateHeader",
    "Label.type": "system user",
    "labelListVisibility": "labelShow labelShowIfUnread labelHide",
    "messageListVisibility": "show hide",
    "labelFilterAction": "include exclude",
    "labelFilterBehavior": "include exclude",
    "verificationStatus": "verificationStatusUnspecified accepted pending",
    "securityMode": "securityModeUnspecified none ssl starttls",
    "$.xgafv": "1 2",
}
_TYPES |= {name: {"type": "string", "enum": choices.split()} for name, choices in _CHOICES.items()}
_PLAIN: dict[str, object] = {"type": "string"}
_REPEATED = {"labelIds", "metadataHeaders", "historyTypes"}
_BODIES = {
    **dict.fromkeys(("messages.send", "messages.import", "messages.insert"), "Message"),
    **dict.fromkeys(("drafts.create", "drafts.update", "drafts.send"), "Draft"),
    **dict.fromkeys(("labels.create", "labels.update", "labels.patch"), "Label"),
    "messages.modify": "ModifyMessageRequest",
    "messages.batchModify": "BatchModifyMessagesRequest",
    "messages.batchDelete": "BatchDeleteMessagesRequest",
    "threads.modify": "ModifyThreadRequest",
    "watch": "WatchRequest",
}
_UPLOADS = {
    **dict.fromkeys(("messages.import", "messages.insert"), MAX_INSERT_BYTES),
    **dict.fromkeys(("messages.send", "drafts.create", "drafts.update", "drafts.send"), MAX_SEND_BYTES),
}
_ON_USERS = {"profile.get": "getProfile"}


class DiscoveryRoutes:
    """The addresses at which the document is served; its own are those of the host that a request names."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._methods = tuple(methods)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [Route("/$discovery/rest", self.serve), Route("/discovery/v1/apis/gmail/v1/rest", self.serve)]

    async def serve(self, request: Request) -> Response:
        """Return the document; 404 for another version."""
        if request.query_params.get("version", "v1") != "v1":
            return json_response(NOT_FOUND.body(), NOT_FOUND.code)
        return JSONResponse(build_document(self._methods, root_url=str(request.base_url)))


def build_document(methods: Iterable[Method], *, root_url: str) -> dict[str, object]:
    """Return the document for an API at `root_url`, which ends with a slash."""
    resources: dict[str, Any] = {"users": {}}
    for method in methods:
        *path, name = _name(method).split(".")
        resource = resources["users"]
        for step in path:
            resource = resource.setdefault("resources", {}).setdefault(step, {})
        resource.setdefault("methods", {})[name] = _describe_method(method)
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "gmail:v1",
        "name": "gmail",
        "canonicalName": "Gmail",
        "version": "v1",
        "title": "Gmail API",
        "protocol": "rest",
        "rootUrl": root_url,
        "baseUrl": root_url,
        "basePath": "",
        "servicePath": "",
        "batchPath": "batch",
        "auth": {"oauth2": {"scopes": {scope: {"description": words} for scope, words in GMAIL_WORDS.items()}}},
        "parameters": {name: _describe_parameter("", name) for name in sorted(COMMON_PARAMS)},
        "schemas": {kind: _describe_kind(kind, fields) for kind, fields in SCHEMA.items()},
        "resources": resources,
    }


def _name(method: Method) -> str:
    return _ON_USERS.get(method.name, method.name)


def _describe_method(method: Method) -> dict[str, object]:
    path = f"gmail/v1/users/{{userId}}/{_name_variables(method.path)}"
    order = re.findall(r"\{(\w+)\}", path)
    parameters: dict[str, object] = {name: {**_PLAIN, "location": "path", "required": True} for name in order}
    description: dict[str, object] = {
        "id": f"gmail.users.{_name(method)}",
        "httpMethod": method.verb,
        "path": path,
        "flatPath": path,
        "parameterOrder": order,
        "parameters": parameters | {name: _describe_parameter(method.name, name) for name in sorted(method.params)},
        "scopes": sorted(method.scopes),
    }
    if method.response:
        description["response"] = {"$ref": method.response}
    if body := _BODIES.get(method.name):
        description["request"] = {"$ref": body}
    if size := _UPLOADS.get(method.name):
        description |= {"supportsMediaUpload": True, "mediaUpload": _describe_upload(path, size)}
    return description


def _name_variables(path: str) -> str:
    """Name the variable segments of a path: the last one is the id, one before it that of the message."""
    before, last, behind = path.rpartition("{}")
    return before.replace("{}", "{messageId}") + last.replace("{}", "{id}") + behind


def _describe_parameter(method: str, name: str) -> dict[str, object]:
    repeated = {"repeated": True} if name in _REPEATED else {}
    return {**_find_type(method, name), **repeated, "location": "query"}


def _describe_upload(path: str, size: int) -> dict[str, object]:
    return {
        "accept": ["message/*"],
        "maxSize": str(size),
        "protocols": {
            "simple": {"multipart": True, "path": f"/upload/{path}"},
            "resumable": {"multipart": True, "path": f"/resumable/upload/{path}"},
        },
    }


def _describe_kind(kind: str, fields: dict[str, str]) -> dict[str, object]:
    properties = {name: _describe_field(kind, name, shape) for name, shape in fields.items()}
    return {"id": kind, "type": "object", "properties": properties}


def _describe_field(kind: str, name: str, shape: str) -> dict[str, object]:
    inner = shape.removesuffix("[]")
    if shape.endswith("[]"):
        return {"type": "array", "items": {"$ref": inner} if inner else _PLAIN}
    return {"$ref": inner} if inner else _find_type(kind, name)


def _find_type(owner: str, name: str) -> dict[str, object]:
    return _TYPES.get(f"{owner}.{name}") or _TYPES.get(name, _PLAIN)
