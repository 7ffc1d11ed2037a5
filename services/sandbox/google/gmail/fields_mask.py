"""Partial responses: the `fields` parameter. Grammar: `a,b/c,d(e,f),*`."""

from services.sandbox.google.gmail.errors import CallRefusedError, GoogleError
from services.sandbox.google.gmail.schema import SCHEMA

Mask = dict[str, "Mask"]
MAX_LENGTH = 10_000
MAX_DEPTH = 30


class _Reader:
    """Recursive descent parser of one selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Mask:
        mask = self._list(0)
        if self._at != len(self._text):
            raise _invalid(self._text)
        return mask

    def _list(self, depth: int) -> Mask:
        if depth > MAX_DEPTH:
            raise _invalid(self._text)
        mask: Mask = {}
        while True:
            self._selector(mask, depth)
            if not self._take(","):
                return mask

    def _selector(self, mask: Mask, depth: int) -> None:
        name = self._name()
        inner = mask.setdefault(name, {})
        while self._take("/"):
            depth += 1
            if depth > MAX_DEPTH:
                raise _invalid(self._text)
            inner = inner.setdefault(self._name(), {})
        if self._take("("):
            inner.update(self._list(depth + 1))
            if not self._take(")"):
                raise _invalid(self._text)

    def _name(self) -> str:
        start = self._at
        while self._at < len(self._text) and (self._text[self._at].isalnum() or self._text[self._at] in "*_-"):
            self._at += 1
        if start == self._at:
            raise _invalid(self._text)
        return self._text[start : self._at]

    def _take(self, character: str) -> bool:
        if self._text[self._at : self._at + 1] != character:
            return False
        self._at += 1
        return True


def _invalid(field: str) -> CallRefusedError:
    return CallRefusedError(
        GoogleError(
            400, "invalidParameter", f"Invalid field selection {field}", location="fields", location_type="parameter"
        )
    )


def parse_mask(text: str, kind: str) -> Mask:
    """Parse a selector for a response of type `kind`. Raises CallRefusedError (400) for syntax or unknown fields."""
    if len(text) > MAX_LENGTH:
        raise _invalid(text[:50])
    mask = _Reader(text.replace(" ", "")).read()
    _check(mask, kind)
    return mask


def _check(mask: Mask, kind: str) -> None:
    known = SCHEMA.get(kind, {})
    for name, inner in mask.items():
        if name == "*":
            continue
        if name not in known:
            raise _invalid(name)
        _check(inner, known[name].removesuffix("[]"))


def apply_mask(value: object, mask: Mask) -> object:
    """Return the parts of a JSON value that the mask selects; an empty mask selects everything."""
    if not mask:
        return value
    if isinstance(value, list):
        return [apply_mask(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    everything = mask.get("*")
    out = {}
    for key, item in value.items():
        inner = mask.get(key, everything)
        if inner is not None:
            out[key] = apply_mask(item, inner)
    return out
