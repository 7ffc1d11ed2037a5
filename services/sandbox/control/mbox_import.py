"""Splits mail files: a single message, or an mbox."""

import re
from collections.abc import Iterator

_SEPARATOR = re.compile(rb"^From [^\r\n]*\r?\n", re.MULTILINE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def split_mail(data: bytes) -> Iterator[bytes]:
    """Yield the messages of a file: an mbox (mboxrd quoting) if it begins with a `From ` line, else one message.

    In an mbox a `From ` line separates only at the start or after an empty line.
    """
    if not data.startswith(b"From "):
        yield data
        return
    starts = [
        match
        for match in _SEPARATOR.finditer(data)
        if match.start() == 0 or data[: match.start()].endswith((b"\n\n", b"\n\r\n"))
    ]
    for i, match in enumerate(starts):
        end = starts[i + 1].start() if i + 1 < len(starts) else len(data)
        body = data[match.end() : end]
        message = body.removesuffix(b"\r\n") if body.endswith(b"\r\n\r\n") else body.removesuffix(b"\n")
        if message.strip():
            yield _QUOTED.sub(rb"\1", message)
