"""Control API over mailboxes, below `/_sandbox/users/{email}/`."""

import hashlib
from collections.abc import Iterator

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.sandbox.clock import Clock
from services.sandbox.control.json_body import ControlBody, ControlError, read_body
from services.sandbox.control.mbox_import import split_mail
from services.sandbox.control.new_mail import NewMail, compose_mail
from services.sandbox.control.path_user import user_of_path
from services.sandbox.control.state import NDJSON, json_lines
from services.sandbox.google.gmail.labels import label_resource
from services.sandbox.google.gmail.watch_and_push import PushService
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.mailboxes.labels import Label
from services.sandbox.mailboxes.mailbox import ListingDeviations, Mailbox, Message
from services.sandbox.mailboxes.registry import Mailboxes
from services.sandbox.mailboxes.user import User
from services.sandbox.mime.base64url import decode_base64url
from services.sandbox.mime.content import StoredContent
from services.sandbox.mime.date_header import date_header_ms

MAX_IMPORT_BYTES = 512 * 1024 * 1024


class LabelChange(ControlBody):
    """Labels to add to a message and to remove from it."""

    add: list[str] = Field(default_factory=list)
    remove: list[str] = Field(default_factory=list)


class NewLabel(ControlBody):
    """A label to create, or a new name."""

    name: str = Field(min_length=1, max_length=225)


class DraftBody(ControlBody):
    """Content of a draft."""

    to: str = ""
    subject: str = ""
    text: str = ""


class MailboxBody(ControlBody):
    """Behaviour of a mailbox's listings, and the id at which its history continues."""

    empty_page_every: int = Field(default=0, ge=0)
    index_lag: float = Field(default=0.0, ge=0)
    short_list_every: int = Field(default=0, ge=0)
    history_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")

    @model_validator(mode="after")
    def _not_only_empty_pages(self) -> "MailboxBody":
        if self.empty_page_every == 1:
            raise ValueError("with empty_page_every 1 no listing would end")
        if self.short_list_every == 1:
            raise ValueError("with short_list_every 1 no listing would be whole")
        return self


class UnsolicitedPush(ControlBody):
    """A notification that is sent regardless of watches."""

    history_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")


class MailControl:
    """Handlers for messages, drafts, labels, history and notifications of one user."""

    def __init__(
        self,
        *,
        users: SandboxUsers,
        mailboxes: Mailboxes,
        push: PushService,
        clock: Clock,
    ) -> None:
        self._users = users
        self._mailboxes = mailboxes
        self._push = push
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        user = "/_sandbox/users/{email}"
        return [
            Route(f"{user}/messages", self.list_messages),
            Route(f"{user}/messages", self.deliver, methods=["POST"]),
            Route(f"{user}/messages/{{id}}", self.delete_message, methods=["DELETE"]),
            Route(f"{user}/messages/{{id}}/raw", self.raw),
            Route(f"{user}/messages/{{id}}/labels", self.relabel, methods=["POST"]),
            Route(f"{user}/drafts", self.create_draft, methods=["POST"]),
            Route(f"{user}/drafts/{{id}}", self.update_draft, methods=["PUT"]),
            Route(f"{user}/labels", self.create_label, methods=["POST"]),
            Route(f"{user}/labels/{{id}}", self.rename_label, methods=["PATCH"]),
            Route(f"{user}/labels/{{id}}", self.delete_label, methods=["DELETE"]),
            Route(f"{user}/import", self.import_mail, methods=["POST"]),
            Route(f"{user}/history/expire", self.expire_history, methods=["POST"]),
            Route(f"{user}/mailbox", self.describe_mailbox),
            Route(f"{user}/mailbox", self.put_mailbox, methods=["PUT"]),
            Route(f"{user}/push", self.send_push, methods=["POST"]),
        ]

    async def deliver(self, request: Request) -> Response:
        """Add new mail. 201 with the ids of the messages."""
        user, mailbox = self._mailbox(request)
        body = await read_body(request, NewMail)
        if body.count is not None:
            return _ids(self._mailboxes.deliver(mailbox, body.count))
        if body.id is not None and body.id in mailbox.messages:
            raise ControlError(409, f"a message {body.id} exists already")
        _known_labels(mailbox, body.labels)
        message = mailbox.add(
            StoredContent(
                _decoded(body.raw) if body.raw is not None else compose_mail(body, owner=user, now=self._clock.now())
            ),
            labels=body.labels,
            internal_date=body.internal_date,
            thread_id=body.thread_id,
            message_id=body.id,
            deviation=body.deviation,
        )
        return _ids([message])

    async def list_messages(self, request: Request) -> Response:
        """Stream every message as NDJSON, newest first; `?sha256=0` skips composing the messages."""
        _, mailbox = self._mailbox(request)
        full = request.query_params.get("sha256") != "0"
        return StreamingResponse(json_lines(_message_facts(mailbox, full=full)), media_type=NDJSON)

    async def raw(self, request: Request) -> Response:
        """Return the RFC 5322 bytes of a message."""
        _, mailbox = self._mailbox(request)
        return Response(mailbox.content(_message(request, mailbox)).raw(), media_type="message/rfc822")

    async def delete_message(self, request: Request) -> Response:
        """Delete a message permanently."""
        _, mailbox = self._mailbox(request)
        mailbox.delete(_message(request, mailbox))
        return Response(status_code=204)

    async def relabel(self, request: Request) -> Response:
        """Change labels of a message. Returns its labels after the change."""
        _, mailbox = self._mailbox(request)
        message = _message(request, mailbox)
        body = await read_body(request, LabelChange)
        _known_labels(mailbox, [*body.add, *body.remove])
        mailbox.relabel(message, add=body.add, remove=body.remove)
        return JSONResponse(
            {"id": message.id, "labelIds": sorted(message.labels), "historyId": str(message.history_id)}
        )

    async def create_draft(self, request: Request) -> Response:
        """Create a draft. 201 with its id and its message."""
        return await self._save_draft(request, None)

    async def update_draft(self, request: Request) -> Response:
        """Replace the content of a draft. Returns its new message; the previous one is deleted."""
        return await self._save_draft(request, request.path_params["id"])

    async def _save_draft(self, request: Request, draft_id: str | None) -> Response:
        user, mailbox = self._mailbox(request)
        if draft_id is not None and draft_id not in mailbox.drafts:
            raise ControlError(404, f"no draft {draft_id}")
        body = await read_body(request, DraftBody)
        mail = NewMail.model_validate({"from": user.email, "to": body.to, "subject": body.subject, "text": body.text})
        name, message = mailbox.save_draft(
            StoredContent(compose_mail(mail, owner=user, now=self._clock.now())), labels=("DRAFT",), draft_id=draft_id
        )
        answer = {"id": name, "message": {"id": message.id, "threadId": message.thread_id}}
        return JSONResponse(answer, 200 if draft_id else 201)

    async def create_label(self, request: Request) -> Response:
        """Create a label. 201 with its resource; 409 if the name exists."""
        _, mailbox = self._mailbox(request)
        body = await read_body(request, NewLabel)
        if any(label.name.lower() == body.name.lower() for label in mailbox.labels.values()):
            raise ControlError(409, f"a label {body.name} exists already")
        label = Label(mailbox.new_label_id(), body.name)
        mailbox.labels[label.id] = label
        return JSONResponse(label_resource(label), 201)

    async def rename_label(self, request: Request) -> Response:
        """Rename a label of the user. Returns its resource."""
        _, mailbox = self._mailbox(request)
        label = _user_label(request, mailbox)
        label.name = (await read_body(request, NewLabel)).name
        return JSONResponse(label_resource(label))

    async def delete_label(self, request: Request) -> Response:
        """Delete a label of the user; its messages stay."""
        _, mailbox = self._mailbox(request)
        mailbox.remove_label(_user_label(request, mailbox))
        return Response(status_code=204)

    async def import_mail(self, request: Request) -> Response:
        """Add the messages of an mbox file, or a single message. Dates are those of the Date headers.

        `?labels=INBOX,UNREAD` names the labels of each message.
        """
        _, mailbox = self._mailbox(request)
        labels = [label for label in request.query_params.get("labels", "INBOX").split(",") if label]
        _known_labels(mailbox, labels)
        data = await request.body()
        if len(data) > MAX_IMPORT_BYTES:
            raise ControlError(413, f"the body is larger than {MAX_IMPORT_BYTES} bytes")
        if not data.strip():
            raise ControlError(400, "the body holds no message")
        return _ids(
            [
                mailbox.add(StoredContent(raw), labels=labels, internal_date=date_header_ms(raw))
                for raw in split_mail(data)
            ]
        )

    async def expire_history(self, request: Request) -> Response:
        """Make every history id issued so far too old."""
        _, mailbox = self._mailbox(request)
        mailbox.history.expire()
        return JSONResponse({"historyId": str(mailbox.history.current_id)})

    async def describe_mailbox(self, request: Request) -> Response:
        """Return the last history id, and how often each deviation of the listings has struck so far."""
        _, mailbox = self._mailbox(request)
        return JSONResponse({"historyId": str(mailbox.history.current_id), "struck": _struck(mailbox)})

    async def put_mailbox(self, request: Request) -> Response:
        """Set how this mailbox deviates from an ordinary one."""
        _, mailbox = self._mailbox(request)
        body = await read_body(request, MailboxBody)
        if body.history_id is not None:
            if int(body.history_id) <= mailbox.history.current_id:
                raise ControlError(400, f"history_id must be above {mailbox.history.current_id}")
            mailbox.history.jump(int(body.history_id))
        before = _struck(mailbox)
        mailbox.listing_deviations = ListingDeviations(
            empty_page_every=body.empty_page_every,
            index_lag=body.index_lag,
            short_list_every=body.short_list_every,
        )
        return JSONResponse({"historyId": str(mailbox.history.current_id), "before": before})

    async def send_push(self, request: Request) -> Response:
        """Queue a notification for this user, with the current history id by default."""
        user, mailbox = self._mailbox(request)
        body = await read_body(request, UnsolicitedPush)
        self._push.push_now(user.email, int(body.history_id or mailbox.history.current_id))
        return Response(status_code=202)

    def _mailbox(self, request: Request) -> tuple[User, Mailbox]:
        user = user_of_path(request, self._users)
        return user, self._mailboxes.of(user)


def _message(request: Request, mailbox: Mailbox) -> Message:
    name = request.path_params["id"]
    message = mailbox.messages.get(name)
    if message is None:
        raise ControlError(404, f"no message {name}")
    return message


def _user_label(request: Request, mailbox: Mailbox) -> Label:
    name = request.path_params["id"]
    label = mailbox.labels.get(name)
    if label is None or label.is_system:
        raise ControlError(404, f"no user label {name}")
    return label


def _known_labels(mailbox: Mailbox, labels: list[str]) -> None:
    unknown = set(labels) - mailbox.labels.keys()
    if unknown:
        raise ControlError(400, f"no label {min(unknown)}")


def _decoded(raw: str) -> bytes:
    try:
        return decode_base64url(raw)
    except ValueError as error:
        raise ControlError(400, f"raw: {error}") from error


def _ids(messages: list[Message]) -> Response:
    return JSONResponse({"messages": [{"id": item.id, "threadId": item.thread_id} for item in messages]}, 201)


def _struck(mailbox: Mailbox) -> dict[str, int]:
    """Return how often each deviation of the listings has struck."""
    deviations = mailbox.listing_deviations
    return {"late_entries": deviations.late_entries, "short_listings": deviations.short_listings}


def _message_facts(mailbox: Mailbox, *, full: bool) -> Iterator[dict[str, object]]:
    for message in list(reversed(mailbox.order)):
        fact: dict[str, object] = {
            "id": message.id,
            "threadId": message.thread_id,
            "labelIds": sorted(message.labels),
            "historyId": str(message.history_id),
            "internalDate": str(message.internal_date),
        }
        if full:
            content = mailbox.content(message)
            fact["subject"] = content.tree().header("Subject")
            fact["sha256"] = hashlib.sha256(content.raw()).hexdigest()
        yield fact
