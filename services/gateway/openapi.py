"""OpenAPI additions: the problem documents that FastAPI does not know of."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from services.gateway.errors import PROBLEM_TYPE
from services.gateway.schemas.problems import Problem

_REFERENCE = "#/components/schemas/"

# The `responses` of a route after which something is erased in the background.
ERASING: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {"description": "Out of sight; being erased"},
    HTTPStatus.NO_CONTENT.value: {"description": "Erased"},
}


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers these statuses with a problem; any other failure is one, too."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}}
    named: dict[int | str, dict[str, Any]] = {
        status.value: {"description": status.phrase, "content": content} for status in statuses
    }
    return {**named, "default": {"description": "Any other failure", "content": content}}


class DocumentedApp(FastAPI):
    """FastAPI whose document holds the schema that `problems` refers to."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, built once."""
        if self.openapi_schema is None:
            schema = TypeAdapter(Problem).json_schema(ref_template=_REFERENCE + "{model}")
            document = super().openapi()
            document["components"]["schemas"] |= schema.pop("$defs") | {"Problem": schema}
        return super().openapi()
