"""Message resources as JSON bytes.

What never changes about a message (payload, snippet, size) is rendered once and kept in a bounded cache; what changes
(labels, history id, the attachment ids that are new in every answer) is put between the pieces.
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
"""Text parts above so many bytes arrive as an attachment id too."""
NO_LABELS: frozenset[str] = frozenset()


def to_json(value: object) -> bytes:
    """Compact JSON; lone surrogates, which UTF-8 has no form for, become escapes."""
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Fragment:
    """Everything immutable about one message: `pieces` of the payload with the part ids that go between them."""

    pieces: tuple[bytes, ...]
    part_ids: tuple[str, ...]
    snippet: bytes
    size: int

    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return 400 + len(self.snippet) + sum(len(piece) for piece in self.pieces)


class AttachmentIds:
    """Ids of attachments: another one at every call, each good for one part of one message."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(16)
        self._count = 0

    def issue(self, message_id: str, part_id: str) -> str:
        """A new id."""
        self._count += 1
        nonce = self._count.to_bytes(6)
        return "ANGjdJ" + urlsafe_b64encode(nonce + self._seal(nonce, message_id, part_id) + part_id.encode()).decode()

    def part_id(self, message_id: str, attachment_id: str) -> str | None:
        """The part that an id stands for; None if the id was not issued for this message."""
        try:
            data = urlsafe_b64decode(attachment_id.removeprefix("ANGjdJ") + "==")
            part_id = data[30:].decode()
        except ValueError:
            return None
        return part_id if data[6:30] == self._seal(data[:6], message_id, part_id) else None

    def _seal(self, nonce: bytes, message_id: str, part_id: str) -> bytes:
        text = f"{message_id}/{part_id}".encode()
        return hashlib.blake2b(nonce + text, key=self._key, digest_size=24).digest()


class Renderer:
    """Renders messages; holds the cache and the attachment ids.

    `inline_limit`: attachments up to so many bytes come as `data` without an id, as Gmail does with small ones.
    """

    def __init__(self, *, inline_limit: int = 0, cache_bytes: int = 64 * 1024 * 1024) -> None:
        self.attachment_ids = AttachmentIds()
        self._inline_limit = inline_limit
        self._cache: OrderedDict[tuple[str, str], Fragment] = OrderedDict()
        self._room = cache_bytes
        self._label_json: dict[frozenset[str], bytes] = {NO_LABELS: b""}
        self._mark = f"@{secrets.token_hex(8)}@"

    def message(self, mailbox: Mailbox, message: Message, *, form: str, metadata_headers: frozenset[str]) -> bytes:
        """The resource in the format `form`: full, metadata, minimal or raw."""
        deviation = mailbox.deviations.get(message.id)
        if deviation is not None:
            return self._odd(mailbox, message, deviation, form, metadata_headers)
        fragment = self._fragment(mailbox, message)
        return b'%s,"snippet":%s%s,"sizeEstimate":%d,"historyId":"%d","internalDate":"%d"}' % (
            self._head(message),
            fragment.snippet,
            self._middle(mailbox, message, fragment, form, metadata_headers),
            fragment.size,
            message.history_id,
            message.internal_date,
        )

    def reference(self, message: Message) -> bytes:
        """The resource as writes answer it: ids and labels."""
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
        self, mailbox: Mailbox, message: Message, fragment: Fragment, form: str, metadata_headers: frozenset[str]
    ) -> bytes:
        match form:
            case "full":
                return b',"payload":' + self._payload(message, fragment)
            case "metadata":
                tree = mailbox.content(message).tree()
                return b',"payload":' + to_json(metadata_payload(tree, metadata_headers))
            case "raw":
                return b',"raw":"' + urlsafe_b64encode(mailbox.content(message).raw()).rstrip(b"=") + b'"'
            case _:
                return b""

    def _payload(self, message: Message, fragment: Fragment) -> bytes:
        if not fragment.part_ids:
            return fragment.pieces[0]
        out = [fragment.pieces[0]]
        for part_id, piece in zip(fragment.part_ids, fragment.pieces[1:], strict=True):
            out += (self.attachment_ids.issue(message.id, part_id).encode(), piece)
        return b"".join(out)

    def _odd(
        self,
        mailbox: Mailbox,
        message: Message,
        deviation: MessageDeviation,
        form: str,
        metadata_headers: frozenset[str],
    ) -> bytes:
        fragment = self._make(mailbox, message, headers=deviation.headers)
        resource: dict[str, Any] = {
            "id": message.id,
            "threadId": message.thread_id,
            "labelIds": sorted(message.labels),
            "snippet": json.loads(fragment.snippet),
        }
        if not message.labels:
            del resource["labelIds"]
        middle = self._middle(mailbox, message, fragment, form, metadata_headers)
        resource |= json.loads(b"{" + middle[1:] + b"}")
        resource |= {
            "sizeEstimate": fragment.size,
            "historyId": str(message.history_id),
            "internalDate": str(message.internal_date),
        }
        return to_json({key: value for key, value in (resource | deviation.extra).items() if key not in deviation.omit})

    def snippet(self, mailbox: Mailbox, message: Message) -> bytes:
        """The snippet as a JSON string."""
        return self._fragment(mailbox, message).snippet

    def _fragment(self, mailbox: Mailbox, message: Message) -> Fragment:
        key = (mailbox.sub, message.id)
        fragment = self._cache.get(key)
        if fragment is not None:
            self._cache.move_to_end(key)
            return fragment
        fragment = self._make(mailbox, message)
        self._keep(key, fragment)
        return fragment

    def _keep(self, key: tuple[str, str], fragment: Fragment) -> None:
        self._cache[key] = fragment
        self._room -= fragment.weight()
        while self._room < 0 and self._cache:
            self._room += self._cache.popitem(last=False)[1].weight()

    def _make(self, mailbox: Mailbox, message: Message, *, headers: HeaderForm = "decoded") -> Fragment:
        content = mailbox.content(message)
        tree = content.tree(headers=headers)
        part_ids: list[str] = []
        payload = to_json(self._part(tree, "", part_ids))
        return Fragment(
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
    """The payload of format=metadata: root headers only, those in `wanted` (lower case) if it names any."""
    headers = [{"name": name, "value": value} for name, value in tree.headers if not wanted or name.lower() in wanted]
    payload: dict[str, object] = {"mimeType": tree.mime_type}
    return payload | {"headers": headers} if headers else payload
