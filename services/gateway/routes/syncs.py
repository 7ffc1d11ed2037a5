"""Starting and watching syncs."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import Depends, Query, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.caller import Caller
from services.gateway.clients import Services
from services.gateway.dependencies import Backends, Polls
from services.gateway.limits.long_polls import LongPolls
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_MAILBOX, OF_A_USER
from services.gateway.requests.idempotency_key import IdempotencyKey
from services.gateway.requests.path_parameters import SyncId
from services.gateway.requests.prefer_header import WaitSeconds, applied
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.syncs import (
    Sync,
    SyncListQuery,
    SyncPage,
    SyncRequest,
    SyncState,
    SyncSummary,
    Verification,
    VerifyRequest,
    WaitReason,
)
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/emails", tags=["syncs"])

_SYNC_STATE: dict[int, SyncState] = {
    mail_pb2.SYNC_STATE_QUEUED: "queued",
    mail_pb2.SYNC_STATE_RUNNING: "running",
    mail_pb2.SYNC_STATE_COMPLETED: "completed",
    mail_pb2.SYNC_STATE_FAILED: "failed",
    mail_pb2.SYNC_STATE_CANCELLED: "cancelled",
}
_WAIT_REASON: dict[int, WaitReason] = {
    mail_pb2.WAIT_REASON_QUOTA: "quota",
    mail_pb2.WAIT_REASON_QUOTA_PROJECT: "quota_project",
    mail_pb2.WAIT_REASON_QUOTA_DAY: "quota_day",
    mail_pb2.WAIT_REASON_QUOTA_SERVICE: "quota_service",
    mail_pb2.WAIT_REASON_PROVIDER: "provider",
    mail_pb2.WAIT_REASON_ACCESS: "access",
    mail_pb2.WAIT_REASON_MAILROOM: "mailroom",
}

_ENDED = (mail_pb2.SYNC_STATE_COMPLETED, mail_pb2.SYNC_STATE_FAILED, mail_pb2.SYNC_STATE_CANCELLED)

log = structlog.get_logger()


def _answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that starts a sync."""
    in_time = {"model": Sync, "description": "`Prefer: wait=N` was given and the sync ended in time"}
    return {200: in_time, **problems(*codes)}


@dataclass(frozen=True, slots=True)
class _Watch:
    """A caller's view of syncs, which waits for their end as long as the request allows."""

    services: Services
    polls: LongPolls
    caller: Caller
    wait_seconds: int

    async def look(self, sync_id: str) -> mail_pb2.Sync:
        """Return the sync when it ends, or after the wait."""
        request = mail_pb2.GetSyncRequest(user_id=self.caller.user_id, sync_id=sync_id, wait_seconds=self.wait_seconds)
        return (await self.polls.ask(self.services.syncs.GetSync, request, caller=self.caller)).sync

    async def accepted(self, sync: mail_pb2.Sync) -> Response:
        """Return the response to a request that started this sync."""
        if self.wait_seconds and sync.state not in _ENDED:
            sync = await self._look_if_possible(sync)
        ended_in_time = self.wait_seconds > 0 and sync.state in _ENDED
        return json_response_from(
            _sync(sync),
            status=HTTPStatus.OK if ended_in_time else HTTPStatus.ACCEPTED,
            headers={"Location": f"/emails/syncs/{sync.sync_id}", **applied(self.wait_seconds)},
        )

    async def _look_if_possible(self, sync: mail_pb2.Sync) -> mail_pb2.Sync:
        try:
            return await self.look(sync.sync_id)
        except AppError as error:
            # The sync runs: the client gets its address although waiting failed.
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                raise
            log.warning("sync not watched", sync_id=sync.sync_id, reason=error.reason)
            return sync


async def _watch(services: Backends, polls: Polls, caller: RequestCaller, wait_seconds: WaitSeconds) -> _Watch:
    return _Watch(services, polls, caller, wait_seconds)


Watch = Annotated[_Watch, Depends(_watch)]


@router.post(
    "/sync",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=_answers(*OF_A_MAILBOX, *OF_A_BODY, "reauth_required", "idempotency_key_reused"),
)
async def start_sync(
    services: Backends, caller: RequestCaller, watch: Watch, body: SyncRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Bring a mailbox up to date in the background. A running sync of it is extended and returned."""
    request = mail_pb2.StartSyncRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(body), idempotency_key=idempotency_key or ""
    )
    if body.count == "all":
        request.all = True
    else:
        request.newest_count = body.count
    sync = (await call(services.syncs.StartSync, request)).sync
    return await watch.accepted(sync)


@router.post(
    "/verify",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=_answers(*OF_A_MAILBOX, *OF_A_BODY, "reauth_required", "nothing_to_verify"),
)
async def verify_mailbox(services: Backends, caller: RequestCaller, watch: Watch, body: VerifyRequest) -> Response:
    """Compare ids and labels of the copy with the provider and repair differences, by a sync with `verification`."""
    request = mail_pb2.VerifyMailboxRequest(
        user_id=caller.user_id,
        mailbox=conversions.selector_of(body),
    )
    sync = (await call(services.syncs.VerifyMailbox, request)).sync
    return await watch.accepted(sync)


@router.get(
    "/syncs", response_model=SyncPage, responses=problems(*OF_A_MAILBOX, "invalid_page_token", "mailbox_required")
)
async def list_syncs(services: Backends, caller: RequestCaller, query: Annotated[SyncListQuery, Query()]) -> Response:
    """List the syncs of one mailbox, newest first. A user need not name one: then it is those of all mailboxes."""
    request = mail_pb2.ListSyncsRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(query), page_size=query.limit, page_token=query.cursor
    )
    page = await call(services.syncs.ListSyncs, request)
    syncs = [_sync_summary(item) for item in page.syncs]
    return json_response_from({"syncs": syncs, "next_cursor": page.next_page_token or None})


@router.get(
    "/syncs/{id}",
    response_model=Sync,
    responses=problems(*OF_A_USER, "sync_not_found"),
)
async def get_sync(watch: Watch, sync_id: SyncId) -> Response:
    """Get a sync; with `Prefer: wait=N` the answer comes when it ends, at the latest after N seconds."""
    return json_response_from(_sync(await watch.look(sync_id)), headers=applied(watch.wait_seconds))


@router.delete(
    "/syncs/{id}",
    response_model=Sync,
    responses=problems(*OF_A_USER, "sync_not_found"),
)
async def cancel_sync(services: Backends, caller: RequestCaller, sync_id: SyncId) -> Response:
    """Cancel a sync: stored messages stay, queued ones are not fetched. An ended sync stays as it is."""
    request = mail_pb2.CancelSyncRequest(user_id=caller.user_id, sync_id=sync_id)
    return json_response_from(_sync((await call(services.syncs.CancelSync, request)).sync))


@router.post(
    "/syncs/{id}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Sync,
    responses=problems(*OF_A_USER, "sync_not_found", "reauth_required"),
)
async def retry_sync(services: Backends, caller: RequestCaller, sync_id: SyncId) -> Response:
    """Retry the mailbox's dead letters, in the running sync or in a new one, which `Location` names."""
    request = mail_pb2.RetrySyncRequest(user_id=caller.user_id, sync_id=sync_id)
    sync = (await call(services.syncs.RetrySync, request)).sync
    headers = {"Location": f"/emails/syncs/{sync.sync_id}"}
    return json_response_from(_sync(sync), status=HTTPStatus.ACCEPTED, headers=headers)


def _sync(value: mail_pb2.Sync) -> Sync:
    """Return a sync with its progress and dead letters."""
    return {
        **_sync_summary(value),
        "dead_letters": [
            {"external_id": item.external_id, "reason": item.reason, "attempts": item.attempts}
            for item in value.dead_letters
        ],
    }


def _sync_summary(value: mail_pb2.Sync) -> SyncSummary:
    """Return a sync as lists show it."""
    return {
        "id": value.sync_id,
        "mailbox_id": value.account_id,
        "account_id": value.account_id,
        "email": value.email,
        "state": _SYNC_STATE[value.state],
        "count": value.newest_count if value.HasField("newest_count") else "all",
        "listed": value.listed_count,
        "stored": value.stored_count,
        "pending": value.pending_count,
        "dead_letter_count": value.dead_letter_count,
        "units_spent": value.units_spent,
        "units_per_message": value.units_per_message if value.HasField("units_per_message") else None,
        "eta_seconds": value.eta_seconds if value.HasField("eta_seconds") else None,
        "verification": _verification(value.verification) if value.HasField("verification") else None,
        "error": value.error or None,
        "last_error": value.last_error or None,
        "access_denied_reason": value.access_denied_reason or None,
        "waiting_until": conversions.rfc3339(value.waiting_until_time)
        if value.HasField("waiting_until_time")
        else None,
        "waiting_for": _WAIT_REASON.get(value.waiting_for),
        "progress_at": conversions.rfc3339(value.progress_time) if value.HasField("progress_time") else None,
        "created_at": conversions.rfc3339(value.create_time),
        "ended_at": conversions.rfc3339(value.end_time) if value.HasField("end_time") else None,
    }


def _verification(value: mail_pb2.Verification) -> Verification:
    return {
        "done": value.done,
        "missing": value.missing_count,
        "extra": value.extra_count,
        "drift": value.drift_count,
        "digest": value.digest or None,
    }
