"""The OpenAPI document says what clients, and generators of clients, must know."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway.problems.error_codes import ERROR_CODES
from services.kit.http.bounds import Refusal
from tests.gateway.test_error_catalogue import documented
from tests.support.gateway.document import openapi_document, operations

DOCUMENT = openapi_document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = dict(operations(DOCUMENT))
# Codes of requests that reach no route.
WITHOUT_A_ROUTE = {
    *("not_found", "method_not_allowed", "cors_not_allowed"),
    *(refusal.code for refusal in Refusal),
}


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of every schema and every parameter."""
    for name, schema in SCHEMAS.items():
        yield from ((f"{name}.{field}", value) for field, value in schema.get("properties", {}).items())
    for name, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            yield f"{name} {parameter['name']}", parameter | {"schema": parameter["schema"]}


def types_of(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas that a field may have, null aside."""
    schema = field.get("schema", field)
    return [item for item in schema.get("anyOf", [schema]) if item.get("type") != "null"]


class TestDocument:
    def test_describes_itself_its_server_and_its_tags(self) -> None:
        assert {"title", "version", "summary", "description"} <= DOCUMENT["info"].keys()
        assert DOCUMENT["servers"] == [{"url": "http://localhost:8000", "description": "This installation"}]
        used = {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
        assert {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]} == used

    def test_has_no_two_names_that_a_client_could_confuse(self) -> None:
        names = [re.sub(r"\W", "", name).lower() for name in SCHEMAS]
        assert len(names) == len(set(names))
        # A field of a schema's own name hides the class in Python.
        assert [name for name, schema in SCHEMAS.items() if name.lower() in schema.get("properties", {})] == []


class TestOperation:
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_has_an_id_a_summary_a_description_and_a_tag(self, name: str) -> None:
        operation = OPERATIONS[name]
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert len(operation["tags"]) == 1

    def test_has_an_id_of_its_own(self) -> None:
        ids = [operation["operationId"] for operation in OPERATIONS.values()]
        assert len(ids) == len(set(ids))
        assert {"listEmails", "startSync", "getSync", "getEmail", "redeemSignIn"} <= set(ids)

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_names_the_codes_of_each_error(self, name: str) -> None:
        for status, response in OPERATIONS[name]["responses"].items():
            is_problem = "application/problem+json" in response.get("content", {})
            codes = re.findall(r"`(\w+)`", response["description"]) if is_problem else []
            if status == "default":
                assert codes == ["internal", "service_unavailable", "deadline_exceeded"]
            elif status[0] in "45" and name != "GET /readyz":
                assert codes
                assert {ERROR_CODES[code] for code in codes} == {int(status)}

    def test_names_every_code_somewhere(self) -> None:
        named = {
            code
            for operation in OPERATIONS.values()
            for response in operation["responses"].values()
            for code in re.findall(r"`(\w+)`", response["description"])
        }
        assert ERROR_CODES.keys() - named == WITHOUT_A_ROUTE

    def test_takes_prefer_as_one_string(self) -> None:
        found = [
            parameter["schema"]["type"]
            for operation in OPERATIONS.values()
            for parameter in operation.get("parameters", ())
            if parameter["name"].lower() == "prefer"
        ]
        assert found == ["string"] * 4


class TestField:
    def test_is_described(self) -> None:
        assert [name for name, field in fields() if not field.get("description")] == []

    def test_of_a_time_or_an_id_has_a_format(self) -> None:
        wrong = [
            name
            for name, field in fields()
            for kind in types_of(field)
            if (name.endswith(("_at", "_until")) and kind.get("format") != "date-time")
            or (
                name.endswith((".account_id", ".mailbox_id", ".user_id", ".session_id"))
                and kind.get("format") != "uuid"
            )
        ]
        assert wrong == []

    def test_of_a_status_is_an_enum(self) -> None:
        for schema, field in (("Address", "status"), ("Account", "status"), ("Sync", "state"), ("Sync", "waiting_for")):
            [kind] = types_of(SCHEMAS[schema]["properties"][field])
            kind = SCHEMAS[kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
            assert len(kind["enum"]) > 1, f"{schema}.{field}"

    def test_of_a_code_is_an_enum_that_may_grow(self) -> None:
        assert SCHEMAS["ErrorCode"]["enum"] == sorted(ERROR_CODES)
        kinds = types_of(SCHEMAS["Problem"]["properties"]["code"])
        assert kinds == [{"$ref": "#/components/schemas/ErrorCode"}, {"type": "string"}]


def test_the_codes_are_those_of_the_catalogue() -> None:
    assert {code: status.value for code, status in ERROR_CODES.items()} == documented()
