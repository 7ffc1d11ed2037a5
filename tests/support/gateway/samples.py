"""Values that have every field of a schema of the OpenAPI document."""

from typing import Any

from tests.support.gateway.document import openapi_document

_TEXTS = {
    "uuid": "0190b0a0-0000-7000-8000-000000000001",
    "date-time": "2026-01-31T10:00:00.120Z",
}


def schema_of(name: str) -> dict[str, Any]:
    """Return a schema of the document with those that it refers to."""
    components = openapi_document()["components"]
    return {"$ref": f"#/components/schemas/{name}", "components": {"schemas": components["schemas"]}}


def sample(name: str) -> Any:
    """Return a value of a schema: each field, one item of each list, of alternatives the first."""
    return _of(openapi_document()["components"]["schemas"][name])


def _of(schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return sample(schema["$ref"].rpartition("/")[2])
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            return _of(schema[alternatives][0])
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: _of(field) for name, field in schema["properties"].items()}
        case "array":
            return [_of(schema["items"])]
        case "null":
            return None
        case "boolean":
            return True
        case "integer" | "number":
            return 1
        case _:
            return _TEXTS.get(schema.get("format", ""), "text")
