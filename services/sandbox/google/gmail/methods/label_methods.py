"""Methods of the Gmail API on labels themselves."""

from typing import Any

from services.sandbox.google.gmail.errors import NOT_FOUND, CallRefusedError, GoogleError, invalid_argument
from services.sandbox.google.gmail.labels import LABEL_PALETTE, MAX_LABELS, SYSTEM_LABELS, label_resource
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.mailboxes.labels import Label

_MESSAGE_LIST = frozenset({"show", "hide"})
_LABEL_LIST = frozenset({"labelShow", "labelShowIfUnread", "labelHide"})
_COLOR_PARTS = {"textColor": None, "backgroundColor": None}.keys()
_RESERVED = frozenset(name.lower() for name in SYSTEM_LABELS)


def _checked_name(call: GmailCall, name: object, *, excluded_id: str | None = None) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 225 or name.lower() in _RESERVED:
        raise CallRefusedError(invalid_argument("Invalid label name"))
    if any(label.name.lower() == name.lower() and label.id != excluded_id for label in call.mailbox.labels.values()):
        raise CallRefusedError(GoogleError(409, "aborted", "Label name exists or conflicts"))
    return name


def _visibility(body: dict[str, Any], name: str, allowed: frozenset[str]) -> str | None:
    value = body.get(name)
    if value is not None and value not in allowed:
        raise CallRefusedError(invalid_argument(f"Invalid value at 'label.{name}', \"{value}\""))
    return value


def _color(value: object) -> dict[str, str]:
    """Check a colour: both of its parts are required, each one of the palette, in lower case."""
    if not isinstance(value, dict) or not value.keys() <= _COLOR_PARTS:
        raise CallRefusedError(invalid_argument("Invalid value at 'label.color'"))
    wrong = [str(value.get(part)) for part in _COLOR_PARTS if value.get(part) not in LABEL_PALETTE]
    if wrong:
        raise CallRefusedError(invalid_argument(f"Label color {', '.join(wrong)} is not on the allowed color palette"))
    return value


def _fill(label: Label, body: dict[str, Any]) -> None:
    attributes: dict[str, object] = {
        "messageListVisibility": _visibility(body, "messageListVisibility", _MESSAGE_LIST),
        "labelListVisibility": _visibility(body, "labelListVisibility", _LABEL_LIST),
        "color": None if body.get("color") is None else _color(body["color"]),
    }
    label.attributes = {name: value for name, value in attributes.items() if value is not None}


def list_labels(call: GmailCall) -> bytes:
    """users.labels.list, without counters."""
    return to_json({"labels": [label_resource(label) for label in call.mailbox.labels.values()]})


def get_label(call: GmailCall) -> bytes:
    """users.labels.get with counters, which need one pass over the mailbox."""
    label = call.mailbox.labels.get(call.path[0])
    if label is None:
        raise CallRefusedError(NOT_FOUND)
    counts = [0, 0]
    threads: tuple[set[str], set[str]] = (set(), set())
    for message in call.mailbox.order:
        if label.id in message.labels:
            for i in range(1 + ("UNREAD" in message.labels)):
                counts[i] += 1
                threads[i].add(message.thread_id)
    return to_json(
        label_resource(label)
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
        raise CallRefusedError(invalid_argument("Maximum number of labels exceeded"))
    label = Label(call.mailbox.new_label_id(), _checked_name(call, body.get("name")))
    _fill(label, body)
    call.mailbox.labels[label.id] = label
    return to_json(label_resource(label))


def _user_label(call: GmailCall) -> Label:
    label = call.mailbox.labels.get(call.path[0])
    if label is None:
        raise CallRefusedError(NOT_FOUND)
    if label.is_system:
        raise CallRefusedError(invalid_argument("Invalid label name"))
    return label


def update_label(call: GmailCall) -> bytes:
    """users.labels.update: replace everything but the id."""
    label = _user_label(call)
    body = call.json()
    label.name = _checked_name(call, body.get("name"), excluded_id=label.id)
    _fill(label, body)
    return to_json(label_resource(label))


def patch_label(call: GmailCall) -> bytes:
    """users.labels.patch: replace the fields of the body."""
    label = _user_label(call)
    body = label_resource(label) | call.json()
    label.name = _checked_name(call, body["name"], excluded_id=label.id)
    _fill(label, body)
    return to_json(label_resource(label))


def delete_label(call: GmailCall) -> None:
    """users.labels.delete: remove the label from its messages, too."""
    call.mailbox.remove_label(_user_label(call))
