"""What of a part tree is body text, what is attached, and what is neither.

A body is a sequence of blocks: each is one text that the sender gave as plain text, as HTML, or as both.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.mail.content import limits
from services.mail.content.mime.tree import Part
from services.mail.content.model import Attachment, CalendarPart, MissingPart
from services.mail.content.text.charsets import decode_text
from services.mail.content.text.clean import clean_line, clean_text, cut_utf8
from services.mail.content.text.html_text import html_to_text

_NEVER_BODY = {"text/rfc822-headers", "text/css", "text/vcard", "text/x-vcard", "text/directory", "text/x-amp-html"}
_ENCRYPTED = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
_ONLY_SIGNED = {"signed-data", "certs-only"}
_CALENDAR = {"text/calendar", "application/ics"}
_ENRICHED = {"text/enriched", "text/richtext"}
_ENRICHED_TAG = re.compile(r"<param>[^<>]*</param>|<[^<>]*>", re.IGNORECASE)
_PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"
_LONGEST_PLACEHOLDER = 400


@dataclass(slots=True)
class Block:
    """One text; None is a form that the sender did not give."""

    plain: str | None = None
    html: str | None = None


@dataclass(slots=True)
class Body:
    """The outcome of one walk over a tree. See `ParsedMessage` for what the fields mean."""

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
    body = Body()
    blocks = _Walk(body).collect(root, parent="")
    _list_invitations_once(body)
    _compose(body, blocks)
    return body


class _Walk:
    def __init__(self, body: Body) -> None:
        self._body = body

    def collect(self, part: Part, *, parent: str) -> list[Block]:
        """The blocks of `part`; everything else that it holds goes into the body's lists."""
        if part.mime_type == "multipart/encrypted":
            return self._collect_encrypted(part)
        if part.is_multipart and (part.children or not part.size):
            return self._collect_children(part)
        if part.mime_type == "text/calendar" and part.disposition != "attachment" and _is_in_body(part, parent):
            self._add_invitation(part)
        elif part.mime_type.startswith("text/") and _is_body_text(part, parent):
            return self._read_block(part, parent)
        else:
            self._attach(part, parent)
        return []

    def _collect_encrypted(self, part: Part) -> list[Block]:
        self._body.encrypted = True
        for child in part.children:
            self._attach(child, part.mime_type)
        return []

    def _collect_children(self, part: Part) -> list[Block]:
        collected = []
        for index, child in enumerate(part.children):
            is_related_root = part.mime_type == "multipart/related" and index == 0
            collected.append(self.collect(child, parent="" if is_related_root else part.mime_type))
        if part.mime_type == "multipart/alternative":
            return _choose(collected)
        return [block for blocks in collected for block in blocks]

    def _read_block(self, part: Part, parent: str) -> list[Block]:
        is_html = part.mime_type == "text/html"
        text = self._read_text(part, limit=limits.BODY_BYTES, is_html=is_html)
        if text is None:
            return []
        if is_html:
            return [Block(html=text)]
        if parent == "multipart/alternative" and part.mime_type != "text/plain":
            # An unusual form of a text that is there in a usual one as well: kept only if it is alone.
            return [Block(plain=_strip_enriched(part, text))] if part.mime_type in _ENRICHED else []
        if text.lstrip().startswith(_PGP_MESSAGE):
            self._body.encrypted = True
        return [Block(plain=_strip_enriched(part, text))]

    def _read_text(self, part: Part, *, limit: int, is_html: bool) -> str | None:
        """The decoded text of a part with LF line ends; None if it must be fetched first."""
        if part.content is None:
            if part.attachment_id:
                self._body.missing.append(MissingPart(part.part_id, part.attachment_id, part.mime_type, part.size))
            return None
        text, guessed = decode_text(part.content, part.parameters.get("charset"), html=is_html)
        if guessed:
            _note(self._body, "charset-guessed")
        # Nobody reads it again, and it may be large.
        part.content = None
        # As much as can be left after its line ends have become shorter.
        text = text[: 2 * limit + 2]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text, cut = cut_utf8(clean_text(text), limit)
        if cut:
            self._body.truncated = True
            _note(self._body, "body-too-long")
        return text

    def _add_invitation(self, part: Part) -> None:
        text = self._read_text(part, limit=limits.CALENDAR_BYTES, is_html=False)
        if text is not None:
            method = clean_line(part.parameters.get("method", "")).upper()
            self._body.calendar.append(CalendarPart(part.part_id, method or None, text))
        self._attach(part, "")

    def _attach(self, part: Part, parent: str) -> None:
        if part.mime_type in _ENCRYPTED and part.parameters.get("smime-type", "").lower() not in _ONLY_SIGNED:
            self._body.encrypted = True
        is_embedded = parent == "multipart/related" and part.content_id is not None
        inline = part.disposition == "inline" or (part.disposition == "" and is_embedded)
        self._body.attachments.append(
            Attachment(part.part_id, part.filename, part.mime_type, part.size, inline, _clean_id(part.content_id))
        )


def _clean_id(content_id: str | None) -> str | None:
    return clean_text(content_id) if content_id and len(content_id) <= limits.CONTENT_ID_LENGTH else None


def _is_in_body(part: Part, parent: str) -> bool:
    """Whether a part without a clear disposition stands where a body stands."""
    return parent in ("", "multipart/alternative") or not part.filename


def _is_body_text(part: Part, parent: str) -> bool:
    if part.disposition == "attachment" or part.mime_type in _NEVER_BODY:
        return False
    if parent == "multipart/related" and part.content_id:
        return False
    return _is_in_body(part, parent)


def _strip_enriched(part: Part, text: str) -> str:
    """RFC 1896 text without its commands."""
    return _ENRICHED_TAG.sub("", text) if part.mime_type in _ENRICHED else text


def _choose(alternatives: Sequence[list[Block]]) -> list[Block]:
    """One block of a multipart/alternative: the first that says something as plain text, the first as HTML."""
    plain = _first([_join(blocks, _plain_of) for blocks in alternatives if all(map(_has_plain, blocks))])
    rich = _first([_join(blocks, _html_of) for blocks in alternatives if any(map(_has_html, blocks))])
    return [] if plain is None and rich is None else [Block(plain, rich)]


def _first(texts: list[str | None]) -> str | None:
    """The first text that is not blank; a blank one rather than none."""
    given = [text for text in texts if text is not None]
    return next((text for text in given if text.strip()), given[0] if given else None)


def _has_plain(block: Block) -> bool:
    return block.plain is not None


def _has_html(block: Block) -> bool:
    return block.html is not None


def _plain_of(block: Block) -> str | None:
    """A block as plain text: derived from the HTML where there is no plain text, or it only points to the HTML."""
    return html_to_text(block.html or "") if _derives_text(block) else block.plain


def _derives_text(block: Block) -> bool:
    return block.html is not None and (block.plain is None or _is_placeholder(block.plain, block.html))


def _is_placeholder(plain: str, rich: str) -> bool:
    """Whether the plain form is empty or only says that the mail is HTML."""
    if not plain.strip():
        return True
    return len(plain) <= _LONGEST_PLACEHOLDER and "html" in plain.lower() and len(rich) > 2 * len(plain)


def _html_of(block: Block) -> str | None:
    if block.html is not None or not block.plain or not block.plain.strip():
        return block.html
    return f'<pre style="white-space: pre-wrap">{html.escape(block.plain)}</pre>'


def _join(blocks: list[Block], form: Callable[[Block], str | None]) -> str | None:
    texts = [text for text in map(form, blocks) if text is not None]
    if len(texts) < 2:
        return texts[0] if texts else None
    return "\n".join(text.removesuffix("\n") for text in texts[:-1]) + "\n" + texts[-1]


def _compose(body: Body, blocks: list[Block]) -> None:
    body.text_from_html = any(map(_derives_text, blocks))
    body.text, text_cut = _cut(_join(blocks, _plain_of))
    body.html, html_cut = _cut(_join(blocks, _html_of) if any(map(_has_html, blocks)) else None)
    if text_cut or html_cut:
        body.truncated = True
        _note(body, "body-too-long")


def _cut(text: str | None) -> tuple[str | None, bool]:
    return (None, False) if text is None else cut_utf8(text, limits.BODY_BYTES)


def _list_invitations_once(body: Body) -> None:
    """An invitation is often there twice, as unnamed text and as a file; then only the file is listed."""
    in_body = {part.part_id for part in body.calendar} | {part.part_id for part in body.missing}
    is_file = [_is_calendar(item) and item.part_id not in in_body for item in body.attachments]
    if any(is_file):
        body.attachments = [item for item in body.attachments if not (item.part_id in in_body and _is_calendar(item))]


def _is_calendar(attachment: Attachment) -> bool:
    return attachment.mime_type in _CALENDAR or attachment.filename.lower().endswith(".ics")


def _note(body: Body, defect: str) -> None:
    if defect not in body.defects:
        body.defects.append(defect)
