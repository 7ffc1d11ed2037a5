"""The router of all routes. It holds requests to what the route declares: what it does not name is refused."""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any, get_args, override

from fastapi import APIRouter, Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from services.gateway.access import OPERATIONS
from services.gateway.caller import OPERATION
from services.gateway.errors import problem
from services.gateway.http.methods import CAME_AS_HEAD
from services.gateway.openapi import operation_id
from services.gateway.requests.conditional import CONDITIONAL, with_etag
from services.gateway.requests.form_body import FORM_BODY, FORM_TYPE
from services.gateway.requests.query_models import without_model_fields
from services.gateway.requests.strict_input import StrictRequest, check_body, check_path, check_query, media_type

UNKNOWN_ENCODING = "unsupported_content_encoding"


async def _nothing() -> None:
    """Mark a route only."""


# In the `dependencies` of a route that providers call: its parameters are not checked. Source: RFC 6749 section 4.1.2,
# which has clients ignore unknown parameters of a response. Nor can a browser handle a problem.
CALLED_BY_PROVIDERS = Depends(_nothing)
# They do nothing when they are called.
_MARKS = frozenset({CALLED_BY_PROVIDERS.dependency, CONDITIONAL.dependency, FORM_BODY.dependency})


class Router(APIRouter):
    """A router of strict routes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=StrictRoute, generate_unique_id_function=operation_id, **options)


class StrictRoute(APIRoute):
    """A route that refuses parameters that it does not declare or that come twice, and bodies that it cannot read."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with the checks before it. They run before the token is looked at."""
        handle = self._handler()
        known = frozenset(_query_names(self.dependant))
        is_lenient = CALLED_BY_PROVIDERS in self.dependencies
        fields = None if self.body_field is None else frozenset(_field_names(self.body_field.field_info.annotation))
        is_conditional, takes_forms = (mark in self.dependencies for mark in (CONDITIONAL, FORM_BODY))
        operation = operation_id(self)
        # Nothing would hold a route without a row to what it asks of its callers: it is not served.
        assert is_lenient or operation in OPERATIONS, f"services/gateway/access.py has no row for {operation}"  # noqa: S101 - a defect

        async def checked(request: Request) -> Response:
            if (encoding := _encoding(request)) is not None:
                return _unknown_encoding(encoding)
            if is_lenient and CAME_AS_HEAD in request.scope:
                # GET takes the login code, which a look at the headers must not.
                return Response(status_code=HTTPStatus.NO_CONTENT)
            strict = StrictRequest(request.scope, request.receive)
            request.scope[OPERATION] = operation
            check_path(strict)
            if not is_lenient:
                strict.query = check_query(request.scope["query_string"], known=known)
            if fields is not None and takes_forms and media_type(strict) == FORM_TYPE:
                strict = await strict.read_form(known=fields)
            elif fields is not None:
                await check_body(strict, known=fields)
            response = await handle(strict)
            if is_conditional:
                return with_etag(response, if_none_match=request.headers.get("if-none-match", ""))
            return response

        return checked

    def _handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, without what it need not solve for each request; the document shows all of it."""
        documented = self.dependant
        dependencies = [one for one in documented.dependencies if one.call not in _MARKS]
        solved = replace(documented, dependencies=dependencies)
        self.dependant = solved if CALLED_BY_PROVIDERS in self.dependencies else without_model_fields(solved)
        handle = super().get_route_handler()
        self.dependant = documented
        return handle


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Yield the names of the query parameters of a route and of its dependencies."""
    for field in dependant.query_params:
        yield from list(_field_names(field.field_info.annotation)) or [field.alias]
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


def _field_names(annotation: Any) -> Iterator[str]:
    """Yield the names of the fields of a model, or of a model that may be absent; none for any other type."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (info.alias or name for name, info in kind.model_fields.items())


def _encoding(request: Request) -> str | None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    return None if encoding in ("", "identity") else encoding


def _unknown_encoding(encoding: str) -> Response:
    # The header is the answer that RFC 9110 section 15.5.16 asks for.
    return problem(
        status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        code=UNKNOWN_ENCODING,
        detail=f"Content-Encoding {encoding[:100]} is not understood: send the body as it is.",
        headers={"Accept-Encoding": "identity"},
    )
