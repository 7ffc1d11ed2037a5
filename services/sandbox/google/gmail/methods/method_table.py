"""The methods of the Gmail API with path, scopes, parameters and response type."""

from services.sandbox.google.gmail.methods import get_methods as reads
from services.sandbox.google.gmail.methods import label_methods as labels
from services.sandbox.google.gmail.methods import list_methods as listings
from services.sandbox.google.gmail.methods import write_methods as writes
from services.sandbox.google.gmail.methods.history_method import list_history
from services.sandbox.google.gmail.methods.method_call import COMMON_PARAMS, Method
from services.sandbox.google.gmail.watch_and_push import PushService

_PREFIX = "https://www.googleapis.com/auth/gmail."
FULL = "https://mail.google.com/"
_ALL = frozenset({FULL})
_MODIFY = _ALL | {f"{_PREFIX}modify"}
READS_BODIES = _MODIFY | {f"{_PREFIX}readonly"}
_READ = READS_BODIES | {f"{_PREFIX}metadata"}
_COMPOSE = _MODIFY | {f"{_PREFIX}compose"}
_DRAFTS = _COMPOSE | {f"{_PREFIX}readonly"}
_LABELS = _MODIFY | {f"{_PREFIX}labels"}

_LISTING = frozenset({"q", "maxResults", "pageToken", "includeSpamTrash", "labelIds"})
_GET = frozenset({"format", "metadataHeaders"})


def _reading() -> list[Method]:
    history = frozenset({"startHistoryId", "historyTypes", "labelId", "maxResults", "pageToken"})
    get = "GET"
    return [
        Method("profile.get", get, "profile", reads.get_profile, _READ | _COMPOSE, "Profile", rpc="GetProfile"),
        Method("messages.list", get, "messages", listings.list_messages, _READ, "ListMessagesResponse", _LISTING),
        Method("messages.get", get, "messages/{}", reads.get_message, _READ, "Message", _GET, rpc="GetMessage"),
        Method(
            "messages.attachments.get",
            get,
            "messages/{}/attachments/{}",
            reads.get_attachment,
            READS_BODIES,
            "MessagePartBody",
        ),
        Method("threads.list", get, "threads", listings.list_threads, _READ, "ListThreadsResponse", _LISTING),
        Method("threads.get", get, "threads/{}", reads.get_thread, _READ, "Thread", _GET, rpc="GetThread"),
        Method("labels.list", get, "labels", labels.list_labels, _READ | _LABELS, "ListLabelsResponse"),
        Method("labels.get", get, "labels/{}", labels.get_label, _READ | _LABELS, "Label"),
        Method(
            "settings.sendAs.list",
            get,
            "settings/sendAs",
            reads.list_send_as,
            READS_BODIES | {f"{_PREFIX}settings.basic"},
            "ListSendAsResponse",
        ),
        Method("history.list", get, "history", list_history, _READ, "ListHistoryResponse", history),
        Method(
            "drafts.list", get, "drafts", listings.list_drafts, _DRAFTS, "ListDraftsResponse", _LISTING - {"labelIds"}
        ),
        Method("drafts.get", get, "drafts/{}", reads.get_draft, _DRAFTS, "Draft", frozenset({"format"})),
    ]


def _writing() -> list[Method]:
    post, delete = "POST", "DELETE"
    source = frozenset({"internalDateSource", "deleted"})
    importing = source | {"neverMarkSpam", "processForCalendar"}
    insert, send = _MODIFY | {f"{_PREFIX}insert"}, _COMPOSE | {f"{_PREFIX}send"}
    return [
        Method("messages.batchModify", post, "messages/batchModify", writes.batch_modify, _MODIFY, None),
        Method("messages.batchDelete", post, "messages/batchDelete", writes.batch_delete, _ALL, None),
        Method("messages.send", post, "messages/send", writes.send_message, send, "Message"),
        Method("messages.import", post, "messages/import", writes.import_message, insert, "Message", importing),
        Method("messages.insert", post, "messages", writes.insert_message, insert, "Message", source),
        Method("messages.modify", post, "messages/{}/modify", writes.modify_message, _MODIFY, "Message"),
        Method("messages.trash", post, "messages/{}/trash", writes.trash_message, _MODIFY, "Message"),
        Method("messages.untrash", post, "messages/{}/untrash", writes.untrash_message, _MODIFY, "Message"),
        Method("messages.delete", delete, "messages/{}", writes.delete_message, _ALL, None),
        Method("threads.modify", post, "threads/{}/modify", writes.modify_thread, _MODIFY, "Thread"),
        Method("threads.trash", post, "threads/{}/trash", writes.trash_thread, _MODIFY, "Thread"),
        Method("threads.untrash", post, "threads/{}/untrash", writes.untrash_thread, _MODIFY, "Thread"),
        Method("threads.delete", delete, "threads/{}", writes.delete_thread, _ALL, None),
        Method("labels.create", post, "labels", labels.create_label, _LABELS, "Label"),
        Method("labels.update", "PUT", "labels/{}", labels.update_label, _LABELS, "Label"),
        Method("labels.patch", "PATCH", "labels/{}", labels.patch_label, _LABELS, "Label"),
        Method("labels.delete", delete, "labels/{}", labels.delete_label, _LABELS, None),
        Method("drafts.create", post, "drafts", writes.create_draft, _COMPOSE, "Draft"),
        Method("drafts.send", post, "drafts/send", writes.send_draft, _COMPOSE, "Message"),
        Method("drafts.update", "PUT", "drafts/{}", writes.update_draft, _COMPOSE, "Draft"),
        Method("drafts.delete", delete, "drafts/{}", writes.delete_draft, _COMPOSE, None),
    ]


class MethodTable:
    """Finds methods by verb and path. Fixed segments win over variable ones."""

    def __init__(self, push: PushService) -> None:
        watching = [
            Method("watch", "POST", "watch", push.watch, _READ, "WatchResponse"),
            Method("stop", "POST", "stop", push.stop, _READ, None),
        ]
        self.methods: tuple[Method, ...] = (*_reading(), *_writing(), *watching)
        self._by_shape: dict[tuple[str, int], list[tuple[tuple[str, ...], Method]]] = {}
        for method in self.methods:
            shape = tuple(method.path.split("/"))
            self._by_shape.setdefault((method.verb, len(shape)), []).append((shape, method))

    def find(self, verb: str, segments: tuple[str, ...]) -> tuple[Method, tuple[str, ...]] | None:
        """Return the method for the segments below the user with its variable segments, or None."""
        for shape, method in self._by_shape.get((verb, len(segments)), ()):
            variable = []
            for wanted, found in zip(shape, segments, strict=True):
                if wanted == "{}":
                    variable.append(found)
                elif wanted != found:
                    break
            else:
                return method, tuple(variable)
        return None


def allowed_params(method: Method) -> frozenset[str]:
    """Return every query parameter that the method takes."""
    return method.params | COMMON_PARAMS
