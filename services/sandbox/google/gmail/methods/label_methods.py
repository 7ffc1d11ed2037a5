"""The methods of the Gmail API that show and change labels themselves."""

from typing import Any

from services.sandbox.google.gmail.errors import NOT_FOUND, GoogleError, Refused, invalid_argument
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.mailboxes.labels import MAX_LABELS, SYSTEM_LABELS, Label

_MESSAGE_LIST = frozenset({"show", "hide"})
_LABEL_LIST = frozenset({"labelShow", "labelShowIfUnread", "labelHide"})
_RESERVED = frozenset(name.lower() for name in SYSTEM_LABELS)


def _checked_name(call: GmailCall, name: object, *, but: str | None = None) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 225 or name.lower() in _RESERVED:
        raise Refused(invalid_argument("Invalid label name"))
    if any(label.name.lower() == name.lower() and label.id != but for label in call.mailbox.labels.values()):
        raise Refused(GoogleError(409, "aborted", "Label name exists or conflicts"))
    return name


def _visibility(body: dict[str, Any], name: str, allowed: frozenset[str]) -> str | None:
    value = body.get(name)
    if value is not None and value not in allowed:
        raise Refused(invalid_argument(f"Invalid value at 'label.{name}', \"{value}\""))
    return value


def _fill(label: Label, body: dict[str, Any]) -> None:
    label.message_list_visibility = _visibility(body, "messageListVisibility", _MESSAGE_LIST)
    label.label_list_visibility = _visibility(body, "labelListVisibility", _LABEL_LIST)
    color = body.get("color")
    if color is not None and not (isinstance(color, dict) and color.keys() <= {"textColor", "backgroundColor"}):
        raise Refused(invalid_argument("Invalid value at 'label.color'"))
    label.color = color


def list_labels(call: GmailCall) -> bytes:
    """users.labels.list: no counters."""
    return to_json({"labels": [label.resource() for label in call.mailbox.labels.values()]})


def get_label(call: GmailCall) -> bytes:
    """users.labels.get: with counters, which cost one pass over the mailbox."""
    label = call.mailbox.labels.get(call.path[0])
    if label is None:
        raise Refused(NOT_FOUND)
    counts = [0, 0]
    threads: tuple[set[str], set[str]] = (set(), set())
    for message in call.mailbox.order:
        if label.id in message.labels:
            for i in range(1 + ("UNREAD" in message.labels)):
                counts[i] += 1
                threads[i].add(message.thread_id)
    return to_json(
        label.resource()
        | {
            "messagesTotal": counts[0],
            "messagesUnread": counts[1],
            "threadsTotal": len(threads[0]),
            "threadsUnread": len(threads[1]),
        }
    )


def create_label(call: GmailCall) -> bytes:
    """users.labels.create."""
    body = call.json()
    if len(call.mailbox.labels) >= MAX_LABELS:
        raise Refused(invalid_argument("Maximum number of labels exceeded"))
    label = Label(call.mailbox.new_label_id(), _checked_name(call, body.get("name")))
    _fill(label, body)
    call.mailbox.labels[label.id] = label
    return to_json(label.resource())


def _user_label(call: GmailCall) -> Label:
    label = call.mailbox.labels.get(call.path[0])
    if label is None:
        raise Refused(NOT_FOUND)
    if label.is_system:
        raise Refused(invalid_argument("Invalid label name"))
    return label


def update_label(call: GmailCall) -> bytes:
    """users.labels.update: replaces everything but the id."""
    label = _user_label(call)
    body = call.json()
    label.name = _checked_name(call, body.get("name"), but=label.id)
    _fill(label, body)
    return to_json(label.resource())


def patch_label(call: GmailCall) -> bytes:
    """users.labels.patch: replaces what the body names."""
    label = _user_label(call)
    body = label.resource() | call.json()
    label.name = _checked_name(call, body["name"], but=label.id)
    _fill(label, body)
    return to_json(label.resource())


def delete_label(call: GmailCall) -> None:
    """users.labels.delete: its messages lose it."""
    call.mailbox.remove_label(_user_label(call))
