"""The sandbox has the methods and fields of Google's discovery document, and no others."""

import json
from typing import Any

import httplib2
import httpx
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.discovery_cache import get_static_doc

from services.sandbox.google.gmail.methods.method_call import COMMON_PARAMS
from services.sandbox.google.gmail.methods.method_table import MethodTable
from services.sandbox.google.gmail.schema import SCHEMA
from services.sandbox.google.oauth.scopes import GMAIL_SCOPES
from tests.support.contract.discovery import Discovery
from tests.support.contract.google_client import GoogleClient


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


class TestServedDocument:
    def test_it_describes_methods_and_types_as_that_of_google_does(self, sandbox_url: str) -> None:
        served = httpx.get(f"{sandbox_url}/$discovery/rest", params={"version": "v1"}, trust_env=False).json()
        theirs = json.loads(get_static_doc("gmail", "v1"))
        assert served["rootUrl"] == f"{sandbox_url}/"
        assert _without_words(served["schemas"]) == _without_words(
            {name: theirs["schemas"][name] for name in served["schemas"]}
        )
        assert _without_words(served["parameters"]) == _without_words(theirs["parameters"])
        ours, google = _methods(served["resources"]), _methods(theirs["resources"])
        assert len(ours) == len(MethodTable(push=_NoPush()).methods)  # type: ignore[arg-type]
        for name, method in ours.items():
            assert _without_words(method) == _without_words(google[name])

    def test_it_is_at_both_of_googles_addresses_in_one_version(self, sandbox_url: str) -> None:
        one = httpx.get(f"{sandbox_url}/$discovery/rest?version=v1", trust_env=False)
        other = httpx.get(f"{sandbox_url}/discovery/v1/apis/gmail/v1/rest", trust_env=False)
        assert one.json() == other.json()
        assert httpx.get(f"{sandbox_url}/$discovery/rest?version=v2", trust_env=False).status_code == 404

    def test_googles_client_is_built_from_it(self, reader: GoogleClient) -> None:
        address = reader.url + "/$discovery/rest?version={apiVersion}"
        http = AuthorizedHttp(reader.credentials, http=httplib2.Http(timeout=20))
        service = build("gmail", "v1", http=http, discoveryServiceUrl=address, static_discovery=False)
        listed = service.users().messages().list(userId="me", maxResults=3, includeSpamTrash=True).execute()
        assert [item["id"] for item in listed["messages"]] == [fact["id"] for fact in reader.truth()[:3]]
        http.http.close()


_WORDS = {"description", "annotations", "enumDescriptions", "enumDeprecated", "deprecated", "default"}


def _without_words(value: Any) -> Any:
    """Drop descriptions, and scopes of add-ons, which the sandbox does not know."""
    if isinstance(value, list):
        return [_without_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _without_words(item) for name, item in value.items() if name not in _WORDS}
    if "scopes" in kept:
        kept["scopes"] = sorted(set(kept["scopes"]) & GMAIL_SCOPES)
    return kept


def _methods(resources: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for resource in resources.values():
        found |= {method["id"]: method for method in resource.get("methods", {}).values()}
        found |= _methods(resource.get("resources", {}))
    return found


class _NoPush:
    watch = stop = staticmethod(lambda _: None)


def _shape(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"{schema['items'].get('$ref', '')}[]"
    return str(schema.get("$ref", ""))
