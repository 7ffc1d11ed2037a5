"""Validates responses against the discovery document that google-api-python-client ships."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import googleapiclient

_DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "gmail.v1.json"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")
_RANGES = {
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
}
ALWAYS_THERE: Mapping[str, frozenset[str]] = {
    "Draft": frozenset({"id", "message"}),
    "History": frozenset({"id", "messages"}),
    "HistoryLabelAdded": frozenset({"message", "labelIds"}),
    "HistoryLabelRemoved": frozenset({"message", "labelIds"}),
    "HistoryMessageAdded": frozenset({"message"}),
    "HistoryMessageDeleted": frozenset({"message"}),
    "Label": frozenset({"id", "name", "type"}),
    "ListDraftsResponse": frozenset({"resultSizeEstimate"}),
    "ListHistoryResponse": frozenset({"historyId"}),
    "ListLabelsResponse": frozenset({"labels"}),
    "ListMessagesResponse": frozenset({"resultSizeEstimate"}),
    "ListThreadsResponse": frozenset({"resultSizeEstimate"}),
    "Message": frozenset({"id", "threadId"}),
    "MessagePart": frozenset({"mimeType"}),
    "MessagePartBody": frozenset({"size"}),
    "MessagePartHeader": frozenset({"name", "value"}),
    "Profile": frozenset({"emailAddress", "messagesTotal", "threadsTotal", "historyId"}),
    "Thread": frozenset({"id"}),
    "WatchResponse": frozenset({"historyId", "expiration"}),
}
"""Keys that Gmail never omits. The document marks no response field as required."""


class Discovery:
    """Schemas and methods of the document."""

    def __init__(self) -> None:
        document = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
        self.schemas: dict[str, Any] = document["schemas"]
        self.methods: dict[str, dict[str, Any]] = {}
        self._collect(document["resources"])

    def _collect(self, resources: dict[str, Any]) -> None:
        for resource in resources.values():
            for method in resource.get("methods", {}).values():
                self.methods[method["id"]] = method
            self._collect(resource.get("resources", {}))

    def problems(self, value: object, kind: str, *, where: str = "") -> list[str]:
        """Return the deviations of a value from the type `kind`; empty if it conforms."""
        where = where or kind
        if not isinstance(value, dict):
            return [f"{where}: not an object"]
        known = self.schemas[kind]["properties"]
        out = [f"{where}.{name}: unknown field" for name in value.keys() - known.keys()]
        out += [f"{where}.{name}: missing" for name in ALWAYS_THERE.get(kind, frozenset()) - value.keys()]
        for name in value.keys() & known.keys():
            out += self._of_schema(value[name], known[name], f"{where}.{name}")
        return out

    def _of_schema(self, value: object, schema: dict[str, Any], where: str) -> list[str]:
        if "$ref" in schema:
            return self.problems(value, schema["$ref"], where=where)
        match schema["type"]:
            case "array":
                if not isinstance(value, list) or not value:
                    return [f"{where}: an array that is not empty was expected"]
                items = schema["items"]
                return [
                    problem for i, item in enumerate(value) for problem in self._of_schema(item, items, f"{where}[{i}]")
                ]
            case "string":
                return (
                    []
                    if _is_string(value, schema)
                    else [f"{where}: {value!r:.60} is no {schema.get('format', 'string')}"]
                )
            case "integer":
                return [] if _is_integer(value, schema) else [f"{where}: {value!r:.60} is no {schema.get('format')}"]
            case "boolean":
                return [] if isinstance(value, bool) else [f"{where}: not a boolean"]
            case other:
                return [f"{where}: type {other} is not known here"]


def _is_string(value: object, schema: dict[str, Any]) -> bool:
    if not isinstance(value, str):
        return False
    form = schema.get("format")
    if form == "byte":
        return _BASE64URL.fullmatch(value) is not None
    if form in _RANGES:
        low, high = _RANGES[form]
        return re.fullmatch(r"-?\d+", value) is not None and low <= int(value) <= high
    return "enum" not in schema or value in schema["enum"]


def _is_integer(value: object, schema: dict[str, Any]) -> bool:
    low, high = _RANGES[schema["format"]]
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
