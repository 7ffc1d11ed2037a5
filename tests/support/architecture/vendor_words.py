"""Words of vendors in code that is to know none: their names, methods, label ids and fields."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.architecture.repository import tracked_files

CHECKED: Final = ("services/auth", "services/gateway", "services/kit", "services/mail")
# A vendor's own code, and where vendors are entered.
NOT_CHECKED: Final = re.compile(
    r"services/mail/providers/(?:\w+/|label_ids\.py$|registry\.py$|settings\.py$)"
    r"|services/auth/providers/(?:google|yandex|registry|settings)\.py$"
    r"|.*/migrations/"
)
# Packages and files of the protocols themselves are no vendor's: google.protobuf, google.rpc, google/rpc/code.proto.
WORDS: Final = re.compile(
    r"gmail|google(?!\.protobuf|[./]rpc\b)|yandex|(?<![a-z])imap(?![a-z])|\bgraph\b|history_?id"
    r"|\b(?-i:UNREAD|STARRED|CATEGORY_[A-Z]+)\b",
    re.IGNORECASE,
)


def find_vendor_words(root: Path) -> Mapping[str, frozenset[str]]:
    """Return the words by file, in lower case."""
    found = {}
    for path in tracked_files(root, *CHECKED):
        if NOT_CHECKED.match(path) or not path.endswith((".py", ".lua")):
            continue
        words = frozenset(word.lower() for word in WORDS.findall((root / path).read_text(encoding="utf-8")))
        if words:
            found[path] = words
    return found
