"""Asking for a sync and watching it."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.answers import json_answer
from services.gateway.clients import Services
from services.gateway.dependencies import JSON_ONLY, Backends, UserId
from services.gateway.openapi import problems
from services.gateway.preferences import WaitSeconds
from services.gateway.schemas.syncs import Sync, SyncRequest, VerifyRequest
from services.kit.errors import AppError, Kind
from services.kit.rpc_client import DEFAULT_TIMEOUT, call

router = APIRouter(prefix="/emails", tags=["syncs"])

_ENDED = (mail_pb2.SYNC_STATE_COMPLETED, mail_pb2.SYNC_STATE_FAILED, mail_pb2.SYNC_STATE_CANCELLED)

_ASKED: dict[int | str, dict[str, Any]] = {
    200: {"model": Sync, "description": "`Prefer: wait=N` was given and the sync ended in time"},
    **problems(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
}

log = structlog.get_logger()


@router.post(
    "/sync",
    dependencies=[JSON_ONLY],
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=_ASKED,
)
async def start_sync(services: Backends, user_id: UserId, wait_seconds: WaitSeconds, body: SyncRequest) -> Response:
    """Brings a mailbox up to date in the background; a sync of it that already runs is widened and returned."""
    request = mail_pb2.StartSyncRequest(
        user_id=user_id,
        mailbox=conversions.mailbox_selector(account_id=body.account_id, email=body.email),
    )
    if body.count == "all":
        request.all = True
    else:
        request.newest_count = body.count
    sync = (await call(services.syncs.StartSync, request)).sync
    return await _accepted(services, user_id, sync, wait_seconds)


@router.post(
    "/verify",
    dependencies=[JSON_ONLY],
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=_ASKED,
)
async def verify(services: Backends, user_id: UserId, wait_seconds: WaitSeconds, body: VerifyRequest) -> Response:
    """Compares the copy with the provider, ids and labels, and repairs what differs: a sync with `verification`."""
    request = mail_pb2.VerifyMailboxRequest(
        user_id=user_id,
        mailbox=conversions.mailbox_selector(account_id=body.account_id, email=body.email),
    )
    sync = (await call(services.syncs.VerifyMailbox, request)).sync
    return await _accepted(services, user_id, sync, wait_seconds)


async def _accepted(services: Services, user_id: str, sync: mail_pb2.Sync, wait_seconds: int) -> Response:
    if wait_seconds and sync.state not in _ENDED:
        sync = await _wait_for_end(services, user_id, sync, wait_seconds)
    ended_in_time = wait_seconds > 0 and sync.state in _ENDED
    return json_answer(
        conversions.sync(sync),
        status=HTTPStatus.OK if ended_in_time else HTTPStatus.ACCEPTED,
        headers={"Location": f"/emails/syncs/{sync.sync_id}", **_applied(wait_seconds)},
    )


@router.get(
    "/syncs/{id}",
    response_model=Sync,
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND),
)
async def get_sync(services: Backends, user_id: UserId, wait_seconds: WaitSeconds, id: str) -> Response:  # noqa: A002 - the parameter's public name
    """How a sync is doing; with `Prefer: wait=N` answers when it ends, at the latest after N seconds."""
    sync = await _get(services, user_id, id, wait_seconds)
    return json_answer(conversions.sync(sync), headers=_applied(wait_seconds))


@router.delete(
    "/syncs/{id}",
    response_model=Sync,
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND),
)
async def cancel_sync(services: Backends, user_id: UserId, id: str) -> Response:  # noqa: A002 - the parameter's public name
    """Ends a sync: what is stored stays, what is still queued for it is not fetched. An ended one stays as it is."""
    request = mail_pb2.CancelSyncRequest(user_id=user_id, sync_id=id)
    return json_answer(conversions.sync((await call(services.syncs.CancelSync, request)).sync))


@router.post(
    "/syncs/{id}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
async def retry_sync(services: Backends, user_id: UserId, id: str) -> Response:  # noqa: A002 - the parameter's public name
    """Tries the mailbox's dead letters again, in the sync that runs or in a new one: see `Location`."""
    request = mail_pb2.RetrySyncRequest(user_id=user_id, sync_id=id)
    sync = (await call(services.syncs.RetrySync, request)).sync
    headers = {"Location": f"/emails/syncs/{sync.sync_id}"}
    return json_answer(conversions.sync(sync), status=HTTPStatus.ACCEPTED, headers=headers)


async def _get(services: Services, user_id: str, sync_id: str, wait_seconds: int) -> mail_pb2.Sync:
    request = mail_pb2.GetSyncRequest(user_id=user_id, sync_id=sync_id, wait_seconds=wait_seconds)
    return (await call(services.syncs.GetSync, request, timeout=wait_seconds + DEFAULT_TIMEOUT)).sync


async def _wait_for_end(services: Services, user_id: str, started: mail_pb2.Sync, wait_seconds: int) -> mail_pb2.Sync:
    try:
        return await _get(services, user_id, started.sync_id, wait_seconds)
    except AppError as error:
        # The sync runs: the client gets its address although nobody could watch it meanwhile.
        if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
            raise
        log.warning("sync not watched", sync_id=started.sync_id, reason=error.reason)
        return started


def _applied(wait_seconds: int) -> dict[str, str]:
    return {"Preference-Applied": f"wait={wait_seconds}"} if wait_seconds else {}
