"""Message resources as JSON bytes.

The immutable part of a message (payload, snippet, size) is rendered once and kept in a bounded cache; the mutable part
(labels, history id, attachment ids, which are new in every response) is inserted between the pieces.
"""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from html import escape
from typing import Any

from services.sandbox.mailboxes.mailbox import Mailbox, Message, MessageDeviation
from services.sandbox.mime.content import snippet_of
from services.sandbox.mime.part_tree import HeaderForm, Part

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
TEXT_LIMIT = 2 * 1024 * 1024
"""Text parts above this many bytes come as an attachment id, too."""
NO_LABELS: frozenset[str] = frozenset()


def to_json(value: object) -> bytes:
    """Encode compact JSON; lone surrogates, which UTF-8 cannot represent, become escapes."""
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """The immutable part of a message: `pieces` of the payload, and the part ids that go between them."""

    pieces: tuple[bytes, ...]
    part_ids: tuple[str, ...]
    snippet: bytes
    size: int

    def weight(self) -> int:
        """Estimate the memory in bytes."""
        return 400 + len(self.snippet) + sum(len(piece) for piece in self.pieces)


class AttachmentIds:
    """Attachment ids: new ones at every call, each valid for one part of one message."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(16)
        self._count = 0

    def issue(self, message_id: str, part_id: str) -> str:
        """Return a new id."""
        self._count += 1
        nonce = self._count.to_bytes(6)
        return "ANGjdJ" + urlsafe_b64encode(nonce + self._tag(nonce, message_id, part_id) + part_id.encode()).decode()

    def part_id(self, message_id: str, attachment_id: str) -> str | None:
        """Return the part that an id stands for; None if the id was not issued for this message."""
        try:
            data = urlsafe_b64decode(attachment_id.removeprefix("ANGjdJ") + "==")
            part_id = data[30:].decode()
        except ValueError:
            return None
        return part_id if data[6:30] == self._tag(data[:6], message_id, part_id) else None

    def _tag(self, nonce: bytes, message_id: str, part_id: str) -> bytes:
        text = f"{message_id}/{part_id}".encode()
        return hashlib.blake2b(nonce + text, key=self._key, digest_size=24).digest()


class Renderer:
    """Renders messages; has the cache and the attachment ids.

    Attachments up to `inline_limit` bytes come as `data` without an id, as Gmail does with small ones.
    """

    def __init__(self, *, inline_limit: int = 0, cache_bytes: int = 64 * 1024 * 1024) -> None:
        self.attachment_ids = AttachmentIds()
        self._inline_limit = inline_limit
        self._cache: OrderedDict[tuple[str, str], MessageTemplate] = OrderedDict()
        self._room = cache_bytes
        self._label_json: dict[frozenset[str], bytes] = {NO_LABELS: b""}
        self._mark = f"@{secrets.token_hex(8)}@"

    def message(self, mailbox: Mailbox, message: Message, *, form: str, metadata_headers: frozenset[str]) -> bytes:
        """Render the resource in the format `form`: full, metadata, minimal or raw."""
        deviation = mailbox.message_deviations.get(message.id)
        if deviation is not None:
            return self._with_deviation(mailbox, message, deviation, form, metadata_headers)
        template = self._template(mailbox, message)
        return b'%s,"snippet":%s%s,"sizeEstimate":%d,"historyId":"%d","internalDate":"%d"}' % (
            self._head(message),
            template.snippet,
            self._middle(mailbox, message, template, form, metadata_headers),
            template.size,
            message.history_id,
            message.internal_date,
        )

    def reference(self, message: Message) -> bytes:
        """Render the resource as writing methods return it: ids and labels."""
        return self._head(message) + b"}"

    def _head(self, message: Message) -> bytes:
        ids = f'{{"id":{_encode(message.id)},"threadId":{_encode(message.thread_id)}'.encode()
        return ids + self._labels(message.labels)

    def _labels(self, labels: frozenset[str]) -> bytes:
        known = self._label_json.get(labels)
        if known is None:
            if len(self._label_json) > 10_000:
                self._label_json = {NO_LABELS: b""}
            known = self._label_json[labels] = b',"labelIds":' + to_json(sorted(labels))
        return known

    def _middle(
        self, mailbox: Mailbox, message: Message, template: MessageTemplate, form: str, metadata_headers: frozenset[str]
    ) -> bytes:
        match form:
            case "full":
                return b',"payload":' + self._payload(message, template)
            case "metadata":
                tree = mailbox.content(message).tree()
                return b',"payload":' + to_json(metadata_payload(tree, metadata_headers))
            case "raw":
                return b',"raw":"' + urlsafe_b64encode(mailbox.content(message).raw()) + b'"'
            case _:
                return b""

    def _payload(self, message: Message, template: MessageTemplate) -> bytes:
        if not template.part_ids:
            return template.pieces[0]
        out = [template.pieces[0]]
        for part_id, piece in zip(template.part_ids, template.pieces[1:], strict=True):
            out += (self.attachment_ids.issue(message.id, part_id).encode(), piece)
        return b"".join(out)

    def _with_deviation(
        self,
        mailbox: Mailbox,
        message: Message,
        deviation: MessageDeviation,
        form: str,
        metadata_headers: frozenset[str],
    ) -> bytes:
        template = self._build(mailbox, message, headers=deviation.headers)
        resource: dict[str, Any] = {
            "id": message.id,
            "threadId": message.thread_id,
            "labelIds": sorted(message.labels),
            "snippet": json.loads(template.snippet),
        }
        if not message.labels:
            del resource["labelIds"]
        middle = self._middle(mailbox, message, template, form, metadata_headers)
        resource |= json.loads(b"{" + middle[1:] + b"}")
        resource |= {
            "sizeEstimate": template.size,
            "historyId": str(message.history_id),
            "internalDate": str(message.internal_date),
        }
        return to_json({key: value for key, value in (resource | deviation.extra).items() if key not in deviation.omit})

    def snippet(self, mailbox: Mailbox, message: Message) -> bytes:
        """Render the snippet as a JSON string."""
        return self._template(mailbox, message).snippet

    def _template(self, mailbox: Mailbox, message: Message) -> MessageTemplate:
        key = (mailbox.sub, message.id)
        template = self._cache.get(key)
        if template is not None:
            self._cache.move_to_end(key)
            return template
        template = self._build(mailbox, message)
        self._cache_template(key, template)
        return template

    def _cache_template(self, key: tuple[str, str], template: MessageTemplate) -> None:
        self._cache[key] = template
        self._room -= template.weight()
        while self._room < 0 and self._cache:
            self._room += self._cache.popitem(last=False)[1].weight()

    def _build(self, mailbox: Mailbox, message: Message, *, headers: HeaderForm = "decoded") -> MessageTemplate:
        content = mailbox.content(message)
        tree = content.tree(headers=headers)
        part_ids: list[str] = []
        payload = to_json(self._part(tree, "", part_ids))
        return MessageTemplate(
            pieces=tuple(payload.split(self._mark.encode())),
            part_ids=tuple(part_ids),
            snippet=to_json(escape(snippet_of(tree)).replace("&#x27;", "&#39;")),
            size=content.size(),
        )

    def _part(self, part: Part, part_id: str, attachments: list[str]) -> dict[str, object]:
        out: dict[str, object] = {
            "partId": part_id,
            "mimeType": part.mime_type,
            "filename": part.filename,
            "headers": [{"name": name, "value": value} for name, value in part.headers],
            "body": self._body(part, part_id, attachments),
        }
        if not part.headers:
            del out["headers"]
        if part.parts:
            prefix = f"{part_id}." if part_id else ""
            out["parts"] = [self._part(child, f"{prefix}{i}", attachments) for i, child in enumerate(part.parts)]
        return out

    def _body(self, part: Part, part_id: str, attachments: list[str]) -> dict[str, object]:
        if part.content is None:
            return {"size": 0}
        limit = self._inline_limit if part.is_attachment else TEXT_LIMIT
        if part.size > limit or (part.is_attachment and limit == 0):
            attachments.append(part_id)
            return {"attachmentId": self._mark, "size": part.size}
        if part.size == 0:
            return {"size": 0}
        return {"size": part.size, "data": urlsafe_b64encode(part.read()).decode()}


def metadata_payload(tree: Part, wanted: frozenset[str]) -> dict[str, object]:
    """Return the payload of format=metadata: root headers, only those in `wanted` (lower case) if not empty."""
    headers = [{"name": name, "value": value} for name, value in tree.headers if not wanted or name.lower() in wanted]
    payload: dict[str, object] = {"mimeType": tree.mime_type}
    return payload | {"headers": headers} if headers else payload
