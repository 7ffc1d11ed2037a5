"""Classes of difference between bodies as we read them and as Python's `email` package does.

Each class is proven from the message's bytes: ours must be the text that the rule of the class demands.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import MessageDefect, MissingHeaderBodySeparatorDefect
from email.message import EmailMessage, MIMEPart

from tests.support.mail.expected_charset import expected_texts

UUENCODED_NAME = re.compile(r"^begin [0-7]{3} (.+?)\r?$", re.MULTILINE)
_UUENCODED = re.compile(r"^begin [0-7]{3} .+\n(?:[!-`].*\n)*end\n?", re.MULTILINE)
_PADDING = re.compile(rb"[ \t]+(?=\r?$)", re.MULTILINE)


def classify_body(part: MIMEPart | None, theirs: str | None, ours: str | None, message: EmailMessage) -> str:
    """The class of a difference between two texts or pages of one message; "unknown" if it has none."""
    if theirs is None or ours is None or part is None:
        return _classify_absence(ours, message)
    if ours in _decode_leniently(theirs, str(part.get_content_charset("") or "")):
        return "broken-base64"
    return _classify_structure(theirs, ours, message) or _classify_text(part, theirs, ours)


def _classify_absence(ours: str | None, message: EmailMessage) -> str:
    if ours is not None:
        types = {part.get_content_type() for part in message.walk()}
        if "multipart/digest" in types:
            return "digest"
        return "related-root" if "multipart/related" in types else "other-text"
    if any(part.get_content_type() == "multipart/encrypted" for part in message.walk()):
        return "encrypted-body"
    return "invalid-type" if any(part["content-type"].defects for part in _typed(message)) else "unknown"


def _classify_structure(theirs: str, ours: str, message: EmailMessage) -> str | None:
    if theirs.replace("\0", "") == ours:
        return "nul"
    if theirs == "\ufeff" + ours:
        return "byte-order-mark"
    if theirs.endswith("\n\n" + ours) and _has_defect(message, MissingHeaderBodySeparatorDefect):
        return "stray-header-line"
    if theirs.startswith("\n") and ours == "":
        return "leading-blank-lines"
    return "lying-base64" if _claims_base64_without_being(message) else None


def _classify_text(part: MIMEPart, theirs: str, ours: str) -> str:
    """Take the rules by which a text is read one after the other, until what they give is ours."""
    for rule, text in _read_by_rules(part, theirs):
        if text == ours:
            return rule
        without_files = _UUENCODED.sub("", text)
        if without_files != text and without_files == ours:
            return "uuencoded"
        if ours.startswith(text.removesuffix("\n")) and len(ours) > len(text):
            return "further-parts"
        if part.get_param("format", "") in ("flowed", "Flowed") and _squash(text) == _squash(ours):
            return "flowed"
    return "unknown"


def _read_by_rules(part: MIMEPart, theirs: str) -> Iterator[tuple[str, str]]:
    yield "same", theirs
    label = str(part.get_content_charset("") or "")
    for rule, data in _transfer_decoded(part):
        for text in expected_texts(data, label):
            text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
            has_controls = rule == "charset" and re.search("[\x80-\x9f]", theirs)
            yield ("c1-controls" if has_controls else "body-charset") if rule == "charset" else rule, text
        with suppress(UnicodeDecodeError):
            surrogates = data.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")
            yield "surrogate-bytes", surrogates.decode("utf-16", "replace").replace("\r\n", "\n")


def _transfer_decoded(part: MIMEPart) -> Iterator[tuple[str, bytes]]:
    """The bytes of a part: as the package decodes them, and without white space at the ends of encoded lines."""
    data = part.get_payload(decode=True)
    if isinstance(data, bytes):
        yield "charset", data
    if str(part.get("content-transfer-encoding", "")).strip().lower() == "quoted-printable":
        # What get_payload gives has been decoded from the charset.
        as_sent = part._payload  # type: ignore[attr-defined]
        assert isinstance(as_sent, str)
        yield "line-end-padding", quopri.decodestring(_PADDING.sub(b"", as_sent.encode("ascii", "surrogateescape")))


def _squash(text: str) -> str:
    """A text without white space and quote marks, in which flowed lines may differ."""
    return "".join(text.replace(">", "").split())


def _has_defect(message: EmailMessage, kind: type[MessageDefect]) -> bool:
    return any(isinstance(defect, kind) for part in message.walk() for defect in part.defects)


def _typed(message: EmailMessage) -> list[EmailMessage]:
    return [part for part in message.walk() if "content-type" in part]


def _claims_base64_without_being(message: EmailMessage) -> bool:
    claimed = [part for part in message.walk() if str(part["content-transfer-encoding"]).lower() == "base64"]
    return any(re.search(r"[^A-Za-z0-9+/=\s]", str(part.get_payload())) for part in claimed if not part.is_multipart())


def _decode_leniently(text: str, label: str) -> list[str]:
    """The texts that cut base64 may stand for; none for anything else."""
    letters = text.strip().rstrip("=")
    letters = letters[:-1] if len(letters) % 4 == 1 else letters
    try:
        data = base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (ValueError, binascii.Error):
        return []
    return list(expected_texts(data, label))
