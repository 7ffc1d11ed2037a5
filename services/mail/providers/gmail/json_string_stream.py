"""One long string out of a JSON object that arrives in pieces, without holding the object.

What Gmail calls `raw` or `data` can be 47 MB of base64 in an answer; it passes through in pieces of what arrived.
"""

import json

_QUOTE, _ESCAPE = ord('"'), ord("\\")
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")


class JsonFieldReader:
    """Feed it the pieces of an object in order: it returns the bytes of the top-level string field called `name`.

    `complete` says that the string has ended, `ended` that an object has. What is not JSON yields nothing, or the wrong
    thing, but never an error: a caller checks what it gets. Source: RFC 8259.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.complete = False
        self.ended = False
        self._opening = b""
        self._depth = 0
        self._is_key = False
        self._wanted = False
        self._key: bytearray | None = None
        self._in_string = False
        self._escape = b""

    def feed(self, piece: bytes) -> bytes:
        """What of the field's value is in the next piece."""
        found = bytearray()
        at = 0
        self._opening = self._opening or piece.lstrip()[:1]
        while at < len(piece) and not self.complete:
            at = self._read_string(piece, at, found) if self._in_string else self._read_between(piece, at)
        return bytes(found)

    def _read_between(self, piece: bytes, at: int) -> int:
        """Skips to the next string, keeping count of where in the object that is."""
        quote = piece.find(b'"', at)
        end = len(piece) if quote < 0 else quote
        for byte in piece[at:end]:
            if byte in _OPENING:
                self._depth += 1
                self._is_key = byte == ord("{")
            elif byte in _CLOSING:
                self._depth -= 1
                self.ended = not self._depth and self._opening == b"{"
            elif byte == ord(","):
                self._is_key, self._wanted = True, False
            elif byte == ord(":"):
                self._is_key = False
        if quote < 0:
            return end
        self._in_string = True
        self._key = bytearray() if self._depth == 1 and self._is_key else None
        return end + 1

    def _read_string(self, piece: bytes, at: int, found: bytearray) -> int:
        if self._escape:
            return self._read_escape(piece, at, found)
        quote, escape = piece.find(b'"', at), piece.find(b"\\", at)
        ends = [place for place in (quote, escape) if place >= 0]
        end = min(ends, default=len(piece))
        self._take(piece[at:end], found)
        if not ends:
            return end
        if piece[end] == _ESCAPE:
            self._escape = b"\\"
        else:
            self._end_string()
        return end + 1

    def _read_escape(self, piece: bytes, at: int, found: bytearray) -> int:
        self._escape += piece[at : at + 1]
        if len(self._escape) == (6 if self._escape[1:2] == b"u" else 2):
            try:
                self._take(json.loads(b'"%s"' % self._escape).encode("utf-8", "replace"), found)
            except ValueError:
                self._take(b"?", found)
            self._escape = b""
        return at + 1

    def _take(self, data: bytes, found: bytearray) -> None:
        if self._key is not None:
            self._key += data[:100]
        elif self._wanted and self._depth == 1:
            found += data

    def _end_string(self) -> None:
        self._in_string = False
        if self._key is not None:
            self._wanted = self._key.decode("utf-8", "replace") == self._name
        elif self._wanted and self._depth == 1:
            self.complete = True
