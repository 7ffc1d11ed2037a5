"""One walk over a part tree that tells body text, attachments and invitations apart.

A body is a sequence of blocks: each is one text that the sender gave as plain text, as HTML, or as both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.mail.content import limits
from services.mail.content.attached_messages import Room, describe_message, summarise_headers
from services.mail.content.blocks import Block, choose_alternative, join_html, join_text
from services.mail.content.invitations import list_invitations_once, read_method
from services.mail.content.mime.tree import Part
from services.mail.content.model import AttachedMessage, Attachment, CalendarPart, MissingPart
from services.mail.content.pictures import mark_embedded
from services.mail.content.text.charsets import decode_text
from services.mail.content.text.clean import clean_line, clean_text, cut_utf8
from services.mail.content.text.flowed import join_flowed

_NEVER_BODY = {"text/css", "text/vcard", "text/x-vcard", "text/directory", "text/x-amp-html"}
# text/rfc822-headers (RFC 6522), whose name is often misspelt.
_HEADERS_OF_ANOTHER = "text/rfc822"
# Forms of a text for programs that support them; the usual forms stand beside them.
_ALTERNATIVES_ONLY = {"text/x-amp-html", "text/watch-html"}
_INLINE_TEXT = {"text/plain", "text/html"}
_ENCRYPTED = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
_ONLY_SIGNED = {"signed-data", "certs-only"}
_ENRICHED = {"text/enriched", "text/richtext"}
_ENRICHED_TAG = re.compile(r"<param>[^<>]*</param>|<[^<>]*>", re.IGNORECASE)
_PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"


@dataclass(slots=True)
class Body:
    """The outcome of one walk over a tree. `ParsedMessage` explains the fields."""

    text: str | None = None
    html: str | None = None
    text_from_html: bool = False
    attachments: list[Attachment] = field(default_factory=list)
    calendar: list[CalendarPart] = field(default_factory=list)
    missing: list[MissingPart] = field(default_factory=list)
    encrypted: bool = False
    truncated: bool = False
    defects: list[str] = field(default_factory=list)


def read_body(root: Part) -> Body:
    """Walk the tree once, in order, and compose text and HTML of the blocks found."""
    return _Walk(level=0, room=Room()).read(root)


class _Walk:
    """Walks one message; an attached one has a walk of its own, one level deeper, with the same room for text."""

    def __init__(self, *, level: int, room: Room) -> None:
        self.body = Body()
        self._level = level
        self._room = room

    def read(self, root: Part) -> Body:
        """Read the body of the message with this root."""
        return self._compose(self.collect(root, parent="", is_first=True))

    def _compose(self, blocks: list[Block]) -> Body:
        body = self.body
        text, body.text_from_html = join_text(blocks)
        body.text = self._cut(text)
        body.html = self._cut(join_html(blocks))
        in_body = {part.part_id for part in body.calendar} | {part.part_id for part in body.missing}
        body.attachments = mark_embedded(list_invitations_once(body.attachments, in_body), body.html)
        return body

    def collect(self, part: Part, *, parent: str, is_first: bool) -> list[Block]:
        """Return the blocks of `part`; everything else that it holds goes into the body's lists."""
        if part.mime_type == "multipart/encrypted":
            return self._collect_encrypted(part)
        if part.is_multipart and (part.children or not part.size):
            return self._collect_children(part)
        if parent == "multipart/alternative" and part.mime_type in _ALTERNATIVES_ONLY and not part.disposition:
            return []
        if part.mime_type == "text/calendar" and part.disposition != "attachment" and _is_in_body(part, parent):
            self._add_invitation(part)
        elif part.mime_type.startswith("text/") and _is_body_text(part, parent, is_first=is_first):
            return self._read_block(part)
        elif parent == "multipart/digest" and part.is_message and part.disposition != "attachment":
            return self._read_digest_message(part)
        else:
            self._attach(part, parent)
        return []

    def _collect_encrypted(self, part: Part) -> list[Block]:
        self.body.encrypted = True
        for child in part.children:
            self._attach(child, part.mime_type)
        return []

    def _collect_children(self, part: Part) -> list[Block]:
        root = _find_related_root(part) if part.mime_type == "multipart/related" else None
        collected = []
        for child, is_report_data in _mark_report_data(part):
            if is_report_data:
                self._attach(child, part.mime_type)
            elif child is root:
                collected.append(self.collect(child, parent="", is_first=True))
            else:
                is_first = root is None and child is part.children[0]
                collected.append(self.collect(child, parent=part.mime_type, is_first=is_first))
        if part.mime_type == "multipart/alternative":
            return choose_alternative(collected)
        return [block for blocks in collected for block in blocks]

    def _read_block(self, part: Part) -> list[Block]:
        is_html = part.mime_type == "text/html"
        text = self._read_text(part, limit=limits.BODY_BYTES, is_html=is_html)
        for file in part.children:
            self._attach(file, part.mime_type)
        if text is None:
            return []
        if is_html:
            return [Block(html=text)]
        if text.lstrip().startswith(_PGP_MESSAGE):
            self.body.encrypted = True
        if part.mime_type in _ENRICHED:
            return [Block(plain=_ENRICHED_TAG.sub("", text))]
        if part.parameters.get("format", "").lower() == "flowed":
            text = join_flowed(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        return [Block(plain=text, is_odd=part.mime_type != "text/plain")]

    def _read_text(self, part: Part, *, limit: int, is_html: bool) -> str | None:
        """Decode the text of a part, with LF line ends; None if it must be fetched first."""
        if part.content is None:
            if part.handle:
                self.body.missing.append(MissingPart(part.part_id, part.handle, part.mime_type, part.size))
            return None
        text, guessed = decode_text(part.content, part.parameters.get("charset"), html=is_html)
        if guessed:
            self._note("charset-guessed")
        # It is not read again, and may be large.
        part.content = None
        # As much as can be left after its line ends have become shorter.
        text = text[: 2 * limit + 2]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return self._cut(clean_text(text), limit=limit)

    def _add_invitation(self, part: Part) -> None:
        text = self._read_text(part, limit=limits.CALENDAR_BYTES, is_html=False)
        if text is not None:
            method = read_method(text) or clean_line(part.parameters.get("method", "")).upper()
            self.body.calendar.append(CalendarPart(part.part_id, method or None, text))
        self._attach(part, "")

    def _attach(self, part: Part, parent: str, *, message: AttachedMessage | None = None) -> None:
        if part.mime_type in _ENCRYPTED and part.parameters.get("smime-type", "").lower() not in _ONLY_SIGNED:
            self.body.encrypted = True
        is_picture = part.mime_type.startswith("image/")
        is_related = parent == "multipart/related" and part.content_id is not None
        self.body.attachments.append(
            Attachment(
                part_id=part.part_id,
                filename=part.filename,
                mime_type=part.mime_type,
                size=part.size,
                # Of pictures the HTML decides, once all of it is read.
                inline=part.disposition == "inline" or (part.disposition == "" and (is_related or is_picture)),
                content_id=_clean_id(part.content_id),
                content_location=_clean_id(part.fields.get("content-location")),
                message=message or self._describe(part),
            )
        )

    def _describe(self, part: Part) -> AttachedMessage | None:
        if not part.is_message or not part.children or self._level >= limits.ATTACHED_LEVELS or not self._room.left:
            return None
        [root] = part.children
        body = _Walk(level=self._level + 1, room=self._room).read(root)
        return describe_message(root, body.text, body.attachments, self._room)

    def _read_digest_message(self, part: Part) -> list[Block]:
        """Return the blocks of a message in a digest, which readers show below lines of its headers."""
        if not part.children or self._level >= limits.ATTACHED_LEVELS:
            self._attach(part, "multipart/digest")
            return []
        [root] = part.children
        walk = _Walk(level=self._level + 1, room=self._room)
        blocks = walk.collect(root, parent="", is_first=True)
        attachments = mark_embedded(walk.body.attachments, join_html(blocks))
        self.body.missing += walk.body.missing
        message = describe_message(root, None, attachments, self._room)
        self._attach(part, "multipart/digest", message=message)
        return [Block(plain=summarise_headers(root.fields) + "\n"), *blocks]

    def _cut(self, text: str | None, *, limit: int = limits.BODY_BYTES) -> str | None:
        if text is None:
            return None
        text, is_cut = cut_utf8(text, limit)
        if is_cut:
            self.body.truncated = True
            self._note("body-too-long")
        return text

    def _note(self, defect: str) -> None:
        if defect not in self.body.defects:
            self.body.defects.append(defect)


def _clean_id(content_id: str | None) -> str | None:
    return clean_text(content_id) if content_id and len(content_id) <= limits.CONTENT_ID_LENGTH else None


def _find_related_root(part: Part) -> Part | None:
    """Find the part that the others belong to: the one that `start` names, else the first (RFC 2387 section 3.2)."""
    start = part.parameters.get("start", "").strip("<> \t")
    named = next((child for child in part.children if start and child.content_id == start), None)
    return named or next(iter(part.children), None)


def _mark_report_data(part: Part) -> Iterator[tuple[Part, bool]]:
    """Mark those children of a report that are text and stand behind the part for programs (RFC 6522).

    They are the headers of the message that the report is about, or its text, whatever their type says.
    """
    is_behind = False
    for child in part.children:
        yield child, is_behind and child.mime_type.startswith("text/")
        is_data = child.mime_type.startswith(("message/", _HEADERS_OF_ANOTHER))
        is_behind = is_behind or (part.mime_type == "multipart/report" and is_data)


def _is_in_body(part: Part, parent: str) -> bool:
    """Return whether a part without a clear disposition stands where a body stands."""
    return parent in ("", "multipart/alternative") or not part.filename


def _is_body_text(part: Part, parent: str, *, is_first: bool) -> bool:
    """Return whether a text part is part of the body; the first one is, whatever its name (RFC 8621 section 4.1.4)."""
    if part.disposition == "attachment" or part.mime_type in _NEVER_BODY:
        return False
    if part.mime_type.startswith(_HEADERS_OF_ANOTHER) or (parent == "multipart/related" and part.content_id):
        return False
    return _is_in_body(part, parent) or (is_first and part.mime_type in _INLINE_TEXT)
