"""Writing methods of the Gmail API: labels on messages, trash, deletion, insertion, sending, drafts."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from services.sandbox.google.gmail.errors import NOT_FOUND, CallRefusedError, GoogleError, invalid_argument
from services.sandbox.google.gmail.labels import FIXED
from services.sandbox.google.gmail.methods.get_methods import find_message, find_thread
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.mailboxes.mailbox import Message
from services.sandbox.mime.base64url import decode_base64url
from services.sandbox.mime.content import StoredContent
from services.sandbox.mime.date_header import date_header_ms
from services.sandbox.mime.part_tree import parse_message
from services.sandbox.mime.sent_headers import complete_headers

MAX_LABELS = 100
MAX_BATCH = 1000
MAX_SEND_BYTES = 36_700_160
MAX_INSERT_BYTES = 157_286_400


def _changes(call: GmailCall, body: dict[str, Any], *, limit: int = MAX_LABELS) -> tuple[list[str], list[str]]:
    add = call.strings(body, "addLabelIds", limit=limit)
    remove = call.strings(body, "removeLabelIds", limit=limit)
    if not add and not remove:
        raise CallRefusedError(invalid_argument("No label add or removes specified"))
    for label in (*add, *remove):
        if label not in call.mailbox.labels or label in FIXED:
            raise CallRefusedError(invalid_argument(f"Invalid label: {label}"))
    return add, remove


def modify_message(call: GmailCall) -> bytes:
    """users.messages.modify."""
    message = find_message(call, call.path[0])
    add, remove = _changes(call, call.json())
    call.mailbox.relabel(message, add=add, remove=remove)
    return call.renderer.reference(message)


def batch_modify(call: GmailCall) -> None:
    """users.messages.batchModify: unknown ids are ignored."""
    body = call.json()
    add, remove = _changes(call, body)
    for name in call.strings(body, "ids", limit=MAX_BATCH):
        if (message := call.mailbox.messages.get(name)) is not None:
            call.mailbox.relabel(message, add=add, remove=remove)


def batch_delete(call: GmailCall) -> None:
    """users.messages.batchDelete."""
    for name in call.strings(call.json(), "ids", limit=MAX_BATCH):
        if (message := call.mailbox.messages.get(name)) is not None:
            call.mailbox.delete(message)


def trash_message(call: GmailCall) -> bytes:
    """users.messages.trash."""
    message = find_message(call, call.path[0])
    call.mailbox.relabel(message, add=("TRASH",), remove=("INBOX",))
    return call.renderer.reference(message)


def untrash_message(call: GmailCall) -> bytes:
    """users.messages.untrash."""
    message = find_message(call, call.path[0])
    call.mailbox.relabel(message, remove=("TRASH",))
    return call.renderer.reference(message)


def delete_message(call: GmailCall) -> None:
    """users.messages.delete, permanent."""
    call.mailbox.delete(find_message(call, call.path[0]))


def _thread_answer(call: GmailCall, thread: list[Message]) -> bytes:
    references = b",".join(call.renderer.reference(message) for message in thread)
    return b'{"id":%s,"messages":[%s]}' % (to_json(call.path[0]), references)


def modify_thread(call: GmailCall) -> bytes:
    """users.threads.modify."""
    thread = find_thread(call, call.path[0])
    add, remove = _changes(call, call.json())
    for message in thread:
        call.mailbox.relabel(message, add=add, remove=remove)
    return _thread_answer(call, thread)


def trash_thread(call: GmailCall) -> bytes:
    """users.threads.trash."""
    thread = find_thread(call, call.path[0])
    for message in thread:
        call.mailbox.relabel(message, add=("TRASH",), remove=("INBOX",))
    return _thread_answer(call, thread)


def untrash_thread(call: GmailCall) -> bytes:
    """users.threads.untrash."""
    thread = find_thread(call, call.path[0])
    for message in thread:
        call.mailbox.relabel(message, remove=("TRASH",))
    return _thread_answer(call, thread)


def delete_thread(call: GmailCall) -> None:
    """users.threads.delete."""
    for message in find_thread(call, call.path[0]):
        call.mailbox.delete(message)


def _decode_raw(value: object, *, limit: int = MAX_SEND_BYTES) -> bytes:
    """Decode a `raw` field, base64url with or without padding. Raises CallRefusedError (400 or 413)."""
    if not isinstance(value, str) or not value:
        raise CallRefusedError(
            invalid_argument("'raw' RFC822 payload message string or uploading message via /upload/* URL required")
        )
    try:
        raw = decode_base64url(value)
    except ValueError:
        raise CallRefusedError(invalid_argument("Invalid value for ByteString")) from None
    if len(raw) > limit:
        raise CallRefusedError(GoogleError(413, "uploadTooLarge", "Request Entity Too Large"))
    return raw


def _upload(call: GmailCall) -> dict[str, Any]:
    """Return the body as a message resource, for all three ways of uploading."""
    kind = call.content_type.lower()
    if kind.startswith("message/"):
        return {"raw bytes": call.body}
    if kind.startswith("multipart/"):
        whole = parse_message(f"Content-Type: {call.content_type}\r\n\r\n".encode() + call.body)
        if len(whole.parts) != 2:
            raise CallRefusedError(invalid_argument("A multipart upload has two parts"))
        resource: dict[str, Any] = json.loads(whole.parts[0].read() or b"{}")
        return resource | {"raw bytes": _second_part(call)}
    return call.json()


def _second_part(call: GmailCall) -> bytes:
    boundary = call.content_type.partition("boundary=")[2].split(";")[0].strip(' "').encode()
    chunk = call.body.split(b"--" + boundary)[2]
    for gap in (b"\r\n\r\n", b"\n\n"):
        if gap in chunk:
            return chunk.split(gap, 1)[1].removesuffix(b"\n").removesuffix(b"\r")
    raise CallRefusedError(invalid_argument("A multipart upload has two parts"))


def _raw_of(resource: dict[str, Any], *, limit: int) -> bytes:
    uploaded = resource.get("raw bytes")
    if not isinstance(uploaded, bytes):
        return _decode_raw(resource.get("raw"), limit=limit)
    if len(uploaded) > limit:
        raise CallRefusedError(GoogleError(413, "uploadTooLarge", "Request Entity Too Large"))
    return uploaded


def _thread_id(call: GmailCall, resource: dict[str, Any]) -> str | None:
    wanted = resource.get("threadId")
    if wanted is None:
        return None
    if not isinstance(wanted, str) or wanted not in call.mailbox.threads:
        raise CallRefusedError(NOT_FOUND)
    return wanted


def _insert(call: GmailCall, *, default_source: str) -> bytes:
    resource = _upload(call)
    raw = _raw_of(resource, limit=MAX_INSERT_BYTES)
    labels = call.strings(resource, "labelIds", limit=MAX_LABELS)
    for label in labels:
        if label not in call.mailbox.labels:
            raise CallRefusedError(invalid_argument(f"Invalid label: {label}"))
    source = call.choice("internalDateSource", default_source, frozenset({"receivedtime", "dateheader"}))
    message = call.mailbox.add(
        StoredContent(raw),
        labels=labels,
        thread_id=_thread_id(call, resource),
        internal_date=date_header_ms(raw) if source == "dateheader" else None,
    )
    return call.renderer.reference(message)


def insert_message(call: GmailCall) -> bytes:
    """users.messages.insert, dated now by default."""
    return _insert(call, default_source="receivedtime")


def import_message(call: GmailCall) -> bytes:
    """users.messages.import, dated by its Date header by default."""
    return _insert(call, default_source="dateheader")


def send_message(call: GmailCall) -> bytes:
    """users.messages.send: file the message as sent; it is delivered to no recipient."""
    resource = _upload(call)
    raw = _raw_of(resource, limit=MAX_SEND_BYTES)
    tree = parse_message(raw)
    if not any(tree.header(name) for name in ("To", "Cc", "Bcc")):
        raise CallRefusedError(invalid_argument("Recipient address required"))
    return _send(call, raw, thread_id=_thread_id(call, resource))


def _send(call: GmailCall, raw: bytes, *, thread_id: str | None) -> bytes:
    now = call.clock.now()
    name = call.mailbox.new_id(int(now * 1000))
    completed = complete_headers(
        raw,
        name=call.user.name,
        addresses=call.user.addresses,
        date=format_datetime(datetime.fromtimestamp(now, UTC)),
        message_id=f"<{name}@sandbox.example>",
    )
    message = call.mailbox.add(StoredContent(completed), labels=("SENT",), thread_id=thread_id, message_id=name)
    return call.renderer.reference(message)


def _draft_answer(call: GmailCall, draft_id: str, message: Message) -> bytes:
    return b'{"id":%s,"message":%s}' % (to_json(draft_id), call.renderer.reference(message))


def _draft_resource(call: GmailCall) -> dict[str, Any]:
    if not call.content_type.lower().startswith(("message/", "multipart/")):
        resource = call.json().get("message") or {}
        if not isinstance(resource, dict):
            raise CallRefusedError(invalid_argument("Invalid value at 'draft.message'"))
        return resource
    uploaded = _upload(call)
    return (uploaded.get("message") or {}) | {"raw bytes": uploaded["raw bytes"]}


def create_draft(call: GmailCall) -> bytes:
    """users.drafts.create."""
    resource = _draft_resource(call)
    raw = _raw_of(resource, limit=MAX_SEND_BYTES)
    draft_id, message = call.mailbox.save_draft(
        StoredContent(raw), labels=("DRAFT",), thread_id=_thread_id(call, resource)
    )
    return _draft_answer(call, draft_id, message)


def update_draft(call: GmailCall) -> bytes:
    """users.drafts.update: the draft keeps its id, its message gets a new one."""
    draft_id = call.path[0]
    if draft_id not in call.mailbox.drafts:
        raise CallRefusedError(NOT_FOUND)
    resource = _draft_resource(call)
    raw = _raw_of(resource, limit=MAX_SEND_BYTES)
    _, message = call.mailbox.save_draft(StoredContent(raw), labels=("DRAFT",), draft_id=draft_id)
    return _draft_answer(call, draft_id, message)


def delete_draft(call: GmailCall) -> None:
    """users.drafts.delete."""
    message = call.mailbox.drafts.get(call.path[0])
    if message is None:
        raise CallRefusedError(NOT_FOUND)
    call.mailbox.delete(message)


def send_draft(call: GmailCall) -> bytes:
    """users.drafts.send: the draft is deleted, the sent message has a new id."""
    body = call.json()
    message = call.mailbox.drafts.get(str(body.get("id")))
    if message is None:
        raise CallRefusedError(NOT_FOUND)
    resource = body.get("message") or {}
    raw = _decode_raw(resource["raw"]) if resource.get("raw") else call.mailbox.content(message).raw()
    thread_id = message.thread_id
    keeps_thread = len(call.mailbox.threads[thread_id]) > 1
    call.mailbox.delete(message)
    return _send(call, raw, thread_id=thread_id if keeps_thread else None)
