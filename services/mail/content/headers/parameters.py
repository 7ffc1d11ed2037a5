"""Header values of the form `value; name=value` (RFC 2045 section 5.1, RFC 2231), as senders really write them."""

import re
from urllib.parse import unquote_to_bytes

from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.text.charsets import decode_text

_PARAMETER = re.compile(r'\s*([^\s=;"]{1,100})\s*=\s*(?:"((?:[^"\\]++|\\.)*+)(?:"[^;]*|\\?$)|([^;]*))', re.DOTALL)
_COMMENT = re.compile(r"\([^()]*\)\s*$")
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,4}))?(\*)?")
_QUOTED_PAIR = re.compile(r'\\(["\\])')
# Longer names are none (RFC 6838 section 4.2).
_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")


def split_parameters(value: str) -> tuple[str, dict[str, str]]:
    """The lower-case main value and its decoded parameters, lower-case names; the first of a name wins.

    An RFC 2231 parameter (`name*`, `name*0*`) wins over a plain one of the same name.
    """
    main, separator, rest = value.partition(";")
    return _strip_comment(main).lower(), _read_parameters(rest) if separator else {}


def read_mime_type(main: str, default: str) -> str:
    """The MIME type that a Content-Type's main value means; `default` where it is none (RFC 2045 section 5.2)."""
    if _MIME_TYPE.fullmatch(main):
        return main
    match = _MIME_TYPE.match(main)
    return match.group() if match else default


def _strip_comment(value: str) -> str:
    return _COMMENT.sub("", value).strip().strip("\"'") if "(" in value else value.strip().strip("\"'")


def _read_parameters(value: str) -> dict[str, str]:
    plain: dict[str, str] = {}
    extended: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, content, is_quoted in _scan(value):
        section = _SECTION.fullmatch(name)
        if section is None or "*" not in name:
            plain.setdefault(name, decode_words(content) if is_quoted else decode_words(_strip_comment(content)))
        else:
            sections = extended.setdefault(section.group(1), {})
            sections.setdefault(int(section.group(2) or 0), (content, section.group(3) is not None))
    return plain | {name: _join_sections(sections) for name, sections in extended.items()}


def _scan(value: str) -> list[tuple[str, str, bool]]:
    """Names, contents with the quotes removed, and whether there were quotes. What is no parameter is passed over."""
    found = []
    position = 0
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            position = value.find(";", position) + 1 or len(value)
            continue
        quoted = match.group(2)
        content = match.group(3).strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        found.append((match.group(1).lower(), content, quoted is not None))
        position = match.end() + 1
    return found


def _join_sections(sections: dict[int, tuple[str, bool]]) -> str:
    """One value of its numbered sections, up to the first gap. Only the first section names the charset."""
    charset: str | None = None
    data = b""
    for number in range(min(sections), min(sections) + len(sections)):
        if number not in sections:
            break
        content, is_encoded = sections[number]
        if is_encoded and not data and content.count("'") >= 2:
            charset, _, content = content.split("'", 2)
        # A string with a lone surrogate, which a provider's JSON can hold, would be refused by unquote_to_bytes.
        encoded = content.encode("utf-8", "surrogatepass")
        data += unquote_to_bytes(encoded) if is_encoded else encoded
    return decode_words(decode_text(data, charset)[0])
