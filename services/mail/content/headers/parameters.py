"""Header values of the form `value; name=value` (RFC 2045 section 5.1, RFC 2231), as senders really write them."""

import re
from itertools import groupby, takewhile
from operator import itemgetter
from urllib.parse import unquote_to_bytes

from services.mail.content.headers.comments import split_comments
from services.mail.content.headers.encoded_words import decode_words
from services.mail.content.text.charset_labels import find_codec
from services.mail.content.text.charsets import decode_text

# Some senders leave out the semicolon before one of these. In a file name without quotes other words may be followed
# by an equals sign.
_END = r"(?=;|\Z|\s(?:charset|format|delsp|boundary|name|filename|method|type|start)[*\d]*\s*=)"
_PARAMETER = re.compile(
    rf'\s*([^\s=;"]{{1,100}})\s*=\s*(?:"((?:[^"\\]++|\\.)*+)"[^;]*?{_END}|"?([^;]*?){_END})', re.DOTALL | re.IGNORECASE
)
_COMMENT_AT_END = re.compile(r"\([^()]*\)\s*\Z")
# A main value that runs into its first parameter: `text/html charset=utf-8`, or that is missing: `filename=a.pdf`.
_RUN_ON = re.compile(r"([^\s,=]*)[\s,:]+([^\s=]+\s*=.*)|()([^\s=/]+\s*=.*)", re.DOTALL)
_SECTION = re.compile(r"([^*]+)\*(\d{1,4})(\*)?")
_EXTENDED = re.compile(r"([^']*)'(?:[^']*')?(.*)", re.DOTALL)
_QUOTED_PAIR = re.compile(r'\\(["\\])')
# RFC 2045's tokens; longer names are none (RFC 6838 section 4.2).
_TYPE_NAME = r"[!#-'*+\-.0-9^-~]{1,127}"
_MIME_TYPE = re.compile(rf"({_TYPE_NAME})\s*/\s*({_TYPE_NAME})")
# What senders mean by a type without a subtype.
_BARE_TYPES = {
    "text": "text/plain",
    "plain": "text/plain",
    "html": "text/html",
    "multipart": "multipart/mixed",
    "message": "message/rfc822",
}


def split_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return the lower-case main value and the decoded parameters by lower-case name; the first of a name wins.

    Of a parameter that is given in several ways the extended one (`name*`) wins over sections (`name*0*`), and those
    over the plain one.
    """
    main, _, rest = value.partition(";")
    main = split_comments(main)[0].strip(" \t\"'")
    if "=" in main and (run_on := _RUN_ON.fullmatch(main)):
        main = run_on.group(1) or ""
        rest = f"{run_on.group(2) or run_on.group(4)};{rest}"
    return main.rstrip(" \t:,").lower(), _read_parameters(rest) if rest else {}


def read_mime_type(main: str, default: str) -> str:
    """Read the main value of a Content-Type; `default` where it is no MIME type (RFC 2045 section 5.2)."""
    match = _MIME_TYPE.match(main)
    return f"{match.group(1)}/{match.group(2)}" if match else _BARE_TYPES.get(main.strip(" /"), default)


def _read_parameters(value: str) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    extended: dict[str, str] = {}
    for name, content in _scan(value):
        if "*" not in name:
            plain.setdefault(name, decode_words(content))
        elif section := _SECTION.fullmatch(name):
            numbered = sections.setdefault(section.group(1), {})
            numbered.setdefault(int(section.group(2)), (content, section.group(3) is not None))
        else:
            extended.setdefault(name.rstrip("*"), _join_sections({0: (content, True)}))
    return plain | {name: _join_sections(numbered) for name, numbered in sections.items()} | extended


def _scan(value: str) -> list[tuple[str, str]]:
    """Find parameters: lower-case names, and contents without quotes and comments. Anything else is passed over."""
    found = []
    position = 0
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            position = value.find(";", position) + 1 or len(value)
            continue
        quoted = match.group(2)
        content = _strip_comment(match.group(3)).strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        found.append((match.group(1).lower(), content))
        position = match.end() + 1
    return found


def _strip_comment(content: str) -> str:
    return _COMMENT_AT_END.sub("", content) if content.rstrip().endswith(")") else content


def _join_sections(sections: dict[int, tuple[str, bool]]) -> str:
    """Join numbered sections up to the first gap. Only the first section names the charset.

    Encoded sections in a row are decoded as one: some senders cut within a percent escape.
    """
    first = min(sections)
    numbers = takewhile(sections.__contains__, range(first, first + len(sections)))
    charset: str | None = None
    data = b""
    for is_encoded, run in groupby(map(sections.__getitem__, numbers), key=itemgetter(1)):
        content = "".join(text for text, _ in run)
        if is_encoded and not data:
            charset, content = _split_charset(content)
        # A string with a lone surrogate, which a provider's JSON can hold, would be refused by unquote_to_bytes.
        encoded = content.encode("utf-8", "surrogatepass")
        data += unquote_to_bytes(encoded) if is_encoded else encoded
    return decode_words(decode_text(data, charset)[0])


def _split_charset(content: str) -> tuple[str | None, str]:
    """Split `utf-8'en'name` into charset and name; some senders leave out one of the apostrophes, or both."""
    match = _EXTENDED.fullmatch(content)
    if match is None or (content.count("'") == 1 and not find_codec(match.group(1))):
        return None, content
    return match.group(1) or None, match.group(2)
