"""The sandbox has the methods and fields of Google's discovery document, and no others."""

from typing import Any

from services.sandbox.google.gmail.methods.method_call import COMMON_PARAMS
from services.sandbox.google.gmail.methods.method_table import MethodTable
from services.sandbox.google.gmail.schema import SCHEMA
from tests.support.contract.discovery import Discovery


class TestDocument:
    def test_field_masks_know_exactly_the_fields_of_the_document(self, discovery: Discovery) -> None:
        for kind, fields in SCHEMA.items():
            document = discovery.schemas[kind]["properties"]
            shapes = {name: _shape(document[name]) for name in document}
            assert fields == shapes

    def test_every_method_is_where_the_document_puts_it(self, discovery: Discovery) -> None:
        for method in MethodTable(push=_NoPush()).methods:  # type: ignore[arg-type]
            name = {"profile.get": "getProfile"}.get(method.name, method.name)
            document = discovery.methods[f"gmail.users.{name}"]
            path = document["path"].split("{userId}/")[1].replace("{id}", "{}").replace("{messageId}", "{}")
            assert (method.verb, method.path) == (document["httpMethod"], path)
            assert method.response == document.get("response", {}).get("$ref")
            assert method.params == document["parameters"].keys() - {"userId", "id", "messageId"} - COMMON_PARAMS


class _NoPush:
    watch = stop = staticmethod(lambda _: None)


def _shape(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"{schema['items'].get('$ref', '')}[]"
    return str(schema.get("$ref", ""))
