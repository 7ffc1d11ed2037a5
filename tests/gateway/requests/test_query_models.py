"""The parameters of routes whose query is one model."""

from typing import Annotated

import pytest
from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError

from services.gateway.requests.query_models import without_model_fields
from services.gateway.requests.strict_input import StrictRequest
from services.gateway.routes import export, message_list
from services.gateway.schemas.emails import FilterQuery, ListQuery
from tests.gateway.conftest import Gateway


async def list_of(query: Annotated[ListQuery, Query()]) -> None: ...


async def search_for(word: str, request: Request) -> None: ...


def _request(**query: str) -> StrictRequest:
    request = StrictRequest({"type": "http", "query_string": b"", "headers": []})
    request.query = query
    return request


def _reader(dependant: Dependant) -> Dependant:
    solved = without_model_fields(dependant)
    assert solved.query_params == []
    [reader] = solved.dependencies
    return reader


class TestModel:
    """The model, read without FastAPI."""

    async def test_holds_the_parameters_of_the_request(self) -> None:
        reader = _reader(get_dependant(path="/", call=list_of))
        assert reader.call is not None
        assert reader.name == "query"
        query = await reader.call(_request(email="ada@example.com", limit="7", unread="true"))
        assert query == ListQuery(email="ada@example.com", limit=7, unread=True)

    async def test_names_the_wrong_parameters(self) -> None:
        reader = _reader(get_dependant(path="/", call=list_of))
        assert reader.call is not None
        with pytest.raises(RequestValidationError) as caught:
            await reader.call(_request(email="ada@example.com", limit="0", unread="perhaps"))
        assert [error["loc"] for error in caught.value.errors()] == [("query", "unread"), ("query", "limit")]

    def test_is_left_to_fastapi_where_parameters_are_declared_one_by_one(self) -> None:
        dependant = get_dependant(path="/", call=search_for)
        assert without_model_fields(dependant) is dependant


class TestRoutes:
    """The routes that read models."""

    @pytest.mark.parametrize("route", [*message_list.router.routes, *export.router.routes])
    def test_document_the_parameters(self, route: object) -> None:
        [field] = route.dependant.query_params  # type: ignore[attr-defined]  # of FastAPI's routes
        assert issubclass(field.field_info.annotation, FilterQuery)

    async def test_look_at_the_token_before_the_parameters_values(self, gateway: Gateway) -> None:
        response = await gateway.http.get("/emails?email=ada@example.com&limit=0")
        assert response.status_code == 401
        response = await gateway.http.get("/emails?email=ada@example.com&limit=0", headers=gateway.as_user("ada"))
        assert response.json()["errors"] == [{"field": "limit", "message": "must be at least 1"}]
