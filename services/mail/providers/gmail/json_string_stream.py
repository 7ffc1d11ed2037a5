"""One long string of a JSON object, streamed without holding the object in memory.

Gmail's `raw` and `data` fields can have 47 MB of base64; they pass through in the chunks of the answer.
"""

import json

_QUOTE, _ESCAPE = ord('"'), ord("\\")
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")


class JsonFieldReader:
    """A reader of the top-level string field `name` of an object that arrives in chunks.

    `complete` means that the string has ended, `ended` that the object has. Input that is not JSON yields nothing or
    wrong bytes, but never an error: callers check the result. Source: RFC 8259.
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
        """Return the bytes of the field's value in the next chunk."""
        found = bytearray()
        at = 0
        self._opening = self._opening or piece.lstrip()[:1]
        while at < len(piece) and not self.complete:
            at = self._read_string(piece, at, found) if self._in_string else self._read_between(piece, at)
        return bytes(found)

    def _read_between(self, piece: bytes, at: int) -> int:
        """Skip to the next string, tracking the position within the object."""
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
