"""Additions to the OpenAPI document: problem documents, which FastAPI does not know."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from services.gateway.errors import PROBLEM_TYPE
from services.gateway.schemas.problems import Problem

_REFERENCE = "#/components/schemas/"

# The `responses` of a route that erases in the background.
ERASING: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {"description": "Out of sight; being erased"},
    HTTPStatus.NO_CONTENT.value: {"description": "Erased"},
}


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that responds with these statuses, or any other error, by a problem."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}}
    named: dict[int | str, dict[str, Any]] = {
        status.value: {"description": status.phrase, "content": content} for status in statuses
    }
    return {**named, "default": {"description": "Any other failure", "content": content}}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document holds the schema that `problems` refers to."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            schema = TypeAdapter(Problem).json_schema(ref_template=_REFERENCE + "{model}")
            document = super().openapi()
            document["components"]["schemas"] |= schema.pop("$defs") | {"Problem": schema}
        return super().openapi()
