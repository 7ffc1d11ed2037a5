"""The API keys of an application."""

from datetime import UTC
from http import HTTPStatus

from fastapi import Response
from mailroom.auth.v1 import auth_pb2

from services.gateway.bearer import RequestCaller
from services.gateway.client_info import RequestClient
from services.gateway.conversions import rfc3339
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.path_parameters import KeyId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.applications import ApiKey, CreatedKey, KeyEventList, KeyList, NewKey
from services.kit.rpc.client import call

router = Router(prefix="/keys", tags=["keys"])


@router.get("", response_model=KeyList, responses=problems(*OF_A_USER))
async def list_keys(
    services: Backends,
    caller: RequestCaller,
) -> Response:
    """List the API keys of the application that live, and the newest others, without their secrets."""
    answer = await call(services.api_keys.ListApiKeys, auth_pb2.ListApiKeysRequest(manager_key_id=caller.key_id))
    return json_response_from({"keys": [_key(key) for key in answer.keys]})


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=CreatedKey,
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_key_rules"),
)
async def create_key(
    services: Backends,
    caller: RequestCaller,
    client: RequestClient,
    body: NewKey,
) -> Response:
    """Create an API key, which can do no more than the one that creates it. Its secret is shown this once.

    Any number of keys is valid at a time: to replace one, create another, use that everywhere, and revoke the first.
    """
    request = auth_pb2.CreateApiKeyRequest(
        manager_key_id=caller.key_id,
        name=body.name,
        scopes=sorted(set(body.scopes)),
        mailbox_ids=body.mailbox_ids or (),
        networks=body.networks or (),
        client=client,
    )
    if body.expires_at is not None:
        request.expire_time.FromDatetime(body.expires_at.astimezone(UTC))
    answer = await call(services.api_keys.CreateApiKey, request)
    return json_response_from({**_key(answer.key), "api_key": answer.api_key}, status=HTTPStatus.CREATED)


@router.get("/{id}/events", response_model=KeyEventList, responses=problems(*OF_A_USER, "api_key_not_found"))
async def list_key_events(
    services: Backends,
    caller: RequestCaller,
    key_id: KeyId,
) -> Response:
    """List what happened to an API key of the application, newest first."""
    request = auth_pb2.ListApiKeyEventsRequest(manager_key_id=caller.key_id, key_id=key_id)
    answer = await call(services.api_keys.ListApiKeyEvents, request)
    events = [
        {
            "type": event.type,
            "created_at": rfc3339(event.create_time),
            "client_network": event.client.address or None,
            "client": event.client.user_agent or None,
        }
        for event in answer.events
    ]
    return json_response_from({"events": events})


@router.delete(
    "/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problems(*OF_A_USER, "api_key_not_found"),
)
async def revoke_key(
    services: Backends,
    caller: RequestCaller,
    client: RequestClient,
    key_id: KeyId,
) -> Response:
    """Revoke an API key of the application. Within five seconds it is refused everywhere, and its open streams end."""
    request = auth_pb2.RevokeApiKeyRequest(manager_key_id=caller.key_id, key_id=key_id, client=client)
    await call(services.api_keys.RevokeApiKey, request)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _key(key: auth_pb2.ApiKey) -> ApiKey:
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "mailbox_ids": list(key.mailbox_ids) or None,
        "networks": list(key.networks) or None,
        "created_by": key.created_by or None,
        "created_at": rfc3339(key.create_time),
        "expires_at": rfc3339(key.expire_time) if key.HasField("expire_time") else None,
        "revoked_at": rfc3339(key.revoke_time) if key.HasField("revoke_time") else None,
        "last_used_at": rfc3339(key.use_time) if key.HasField("use_time") else None,
    }
