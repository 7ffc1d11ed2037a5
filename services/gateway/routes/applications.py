"""Applications, for operators."""

from http import HTTPStatus

from fastapi import Response
from mailroom.auth.v1 import auth_pb2

from services.gateway.bearer import RequestCaller
from services.gateway.client_info import RequestClient
from services.gateway.conversions import rfc3339
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.path_parameters import ApplicationId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas import applications as schemas
from services.kit.rpc.client import call

router = Router(prefix="/applications", tags=["applications"])


@router.get("", response_model=schemas.ApplicationList, responses=problems(*OF_A_USER))
async def list_applications(
    services: Backends,
    caller: RequestCaller,
) -> Response:
    """List all applications of the installation, for an operator key."""
    request = auth_pb2.ListApplicationsRequest(operator_key_id=caller.key_id)
    answer = await call(services.applications.ListApplications, request)
    return json_response_from({"applications": [_application(item) for item in answer.applications]})


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=schemas.Application,
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_application", "application_exists"),
)
async def create_application(
    services: Backends,
    caller: RequestCaller,
    body: schemas.NewApplication,
) -> Response:
    """Create an application, for an operator key. Its first API key comes from the command line of the server."""
    request = auth_pb2.CreateApplicationRequest(
        operator_key_id=caller.key_id, name=body.name, redirect_urls=body.redirect_urls
    )
    answer = await call(services.applications.CreateApplication, request)
    return json_response_from(_application(answer.application), status=HTTPStatus.CREATED)


@router.patch(
    "/{id}",
    response_model=schemas.Application,
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_application", "application_not_found"),
)
async def update_application(
    services: Backends,
    caller: RequestCaller,
    application_id: ApplicationId,
    body: schemas.ApplicationChanges,
) -> Response:
    """Replace the redirect URLs of an application, for an operator key."""
    request = auth_pb2.UpdateApplicationRequest(
        operator_key_id=caller.key_id, application_id=application_id, redirect_urls=body.redirect_urls
    )
    answer = await call(services.applications.UpdateApplication, request)
    return json_response_from(_application(answer.application))


@router.delete(
    "/{id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses=problems(*OF_A_USER, "invalid_application", "application_not_found"),
)
async def delete_application(
    services: Backends,
    caller: RequestCaller,
    client: RequestClient,
    application_id: ApplicationId,
) -> Response:
    """Delete an application with its users, mailboxes, keys and grants, for an operator key.

    Its keys are refused within five seconds. The rest is erased in the background; a repeat answers 202 while that goes
    on, and then 404. The application `default` cannot be deleted.
    """
    request = auth_pb2.DeleteApplicationRequest(
        operator_key_id=caller.key_id, application_id=application_id, client=client
    )
    await call(services.applications.DeleteApplication, request)
    return Response(status_code=HTTPStatus.ACCEPTED)


def _application(application: auth_pb2.Application) -> schemas.Application:
    return {
        "id": application.application_id,
        "name": application.name,
        "redirect_urls": list(application.redirect_urls),
        "created_at": rfc3339(application.create_time),
        "deletion_requested_at": (rfc3339(application.delete_time) if application.HasField("delete_time") else None),
    }
