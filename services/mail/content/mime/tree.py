"""The tree of MIME parts that every source (raw bytes, a provider's JSON) is read into."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from mimetypes import MimeTypes

from services.mail.content import limits
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.headers.filenames import sanitise_filename
from services.mail.content.headers.parameters import read_mime_type, split_parameters
from services.mail.content.mime.uuencode import extract_files
from services.mail.content.text.charsets import decode_text

# RFC 2046, RFC 6532 (8-bit headers), RFC 5537 (netnews).
_MESSAGES = {"message/rfc822", "message/global", "message/news"}
# By extension; the system's own tables would make it differ from machine to machine.
_TYPES = MimeTypes()


@dataclass(slots=True)
class Part:
    """One MIME part.

    `fields` holds the first value of each header by lower-case name. `content` is the body without its transfer
    encoding, None where it was not delivered or is not text. `size` is in bytes without the transfer encoding.
    `handle` is the provider's, for fetching what was not delivered. `children` are the parts of a
    multipart, the root of an attached message, or the files that stood uuencoded in a text. `headers` are those of a
    message, in order, unfolded, encoded words not yet decoded; empty for other parts than the root of one.
    """

    part_id: str
    fields: dict[str, str]
    mime_type: str
    parameters: dict[str, str]
    disposition: str = ""
    filename: str = ""
    content_id: str | None = None
    content: bytes | None = None
    size: int = 0
    handle: str | None = None
    children: list["Part"] = field(default_factory=list)
    headers: Sequence[tuple[str, str]] = ()

    @property
    def is_multipart(self) -> bool:
        return self.mime_type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        return self.mime_type in _MESSAGES


@dataclass(slots=True)
class Tree:
    """A whole message: its parts, and what was noted while they were read."""

    root: Part
    truncated: bool
    defects: list[str]


@dataclass(slots=True)
class Budget:
    """Counts parts and remembers what was cut while a tree is read."""

    parts: int = 0
    truncated: bool = False
    defects: list[str] = field(default_factory=list)

    def take_part(self) -> bool:
        """Count a part, and return whether it may still be read."""
        self.parts += 1
        if self.parts > limits.PARTS:
            self.cut("too-many-parts")
            return False
        return True

    def cut(self, defect: str) -> None:
        self.truncated = True
        self.note(defect)

    def note(self, defect: str) -> None:
        if defect not in self.defects:
            self.defects.append(defect)


def index_fields(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Map each lower-case name to the first value of that header."""
    return {name.lower(): value for name, value in reversed(headers)}


def build_part(part_id: str, fields: dict[str, str], *, default_type: str, claimed_name: str = "") -> Part:
    """Make a part from its header fields, without its body.

    `default_type` holds where Content-Type says nothing usable, `claimed_name` (the file name that the provider read)
    where the headers name none.
    """
    main, parameters = split_parameters(fields.get("content-type", ""))
    disposition, disposition_parameters = split_parameters(fields.get("content-disposition", ""))
    name = disposition_parameters.get("filename") or parameters.get("name") or ""
    if claimed_name and (not name or "\ufffd" in name):
        name = decode_words(claimed_name)
    content_id = fields.get("content-id", "").strip(" <>\t")
    return Part(
        part_id=part_id,
        fields=fields,
        mime_type=read_mime_type(main, default_type),
        parameters=parameters,
        disposition=disposition,
        filename=sanitise_filename(name) if name else "",
        content_id=content_id or None,
    )


def take_out_files(part: Part, budget: Budget) -> None:
    """Make the files that stand uuencoded in a plain text its children; an attached text stays as it is."""
    if part.mime_type != "text/plain" or part.disposition == "attachment" or part.filename:
        return
    if not part.content or b"begin" not in part.content:
        return
    part.content, files = extract_files(part.content)
    for index, file in enumerate(files):
        if not budget.take_part():
            return
        name = sanitise_filename(decode_text(file.name, part.parameters.get("charset"))[0])
        mime_type = _TYPES.guess_type(name)[0] or "application/octet-stream"
        child = Part(child_id(part.part_id, index), {}, mime_type, {}, "attachment", name, content=file.data)
        child.size = len(file.data)
        part.children.append(child)


def child_id(parent_id: str, index: int) -> str:
    """Return the id of a child: those of the root "" are "0", "1", theirs "0.0", "0.1"."""
    return f"{parent_id}.{index}" if parent_id else str(index)


def child_type(parent: Part) -> str:
    """Return the type of a part without Content-Type (RFC 2046 section 5.1.5)."""
    return "message/rfc822" if parent.mime_type == "multipart/digest" else "text/plain"
