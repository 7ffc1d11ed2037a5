"""A long string read from JSON that arrives in chunks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.gmail.json_string_stream import JsonFieldReader

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("raw"), inner, max_size=3),
    max_leaves=10,
)


def read(document: bytes, *, size: int) -> tuple[bytes, bool]:
    """Read the field `raw` of a document in chunks of this size; return its bytes and whether it is complete."""
    reader = JsonFieldReader("raw")
    found = b"".join(reader.feed(document[at : at + size]) for at in range(0, len(document), size))
    return found, reader.complete


class TestJsonFieldReader:
    @given(
        others=st.dictionaries(TEXT.filter(lambda name: name != "raw"), JSON, max_size=4),
        value=TEXT.filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)),
        before=st.integers(0, 4),
        ascii_only=st.booleans(),
        indent=st.sampled_from([None, 2]),
        size=st.integers(1, 20),
    )
    def test_finds_the_field_among_others(
        self, others: dict[str, object], value: str, before: int, ascii_only: bool, indent: int | None, size: int
    ) -> None:
        items = list(others.items())
        fields = dict([*items[:before], ("raw", value), *items[before:]])
        document = json.dumps(fields, ensure_ascii=ascii_only and value.isascii(), indent=indent)
        assert read(document.encode("utf-8", "surrogatepass"), size=size) == (value.encode(), True)

    @pytest.mark.parametrize(
        "document",
        [
            '{"data":"x"}',
            '{"payload":{"raw":"x"}}',
            '["raw","x"]',
            '{"x":["raw","y"]}',
            '{"raw":["x"]}',
            '{"x":"raw"}',
            "",
        ],
    )
    def test_returns_nothing_without_the_field(self, document: str) -> None:
        assert read(document.encode(), size=3) == (b"", False)

    @pytest.mark.parametrize("size", [1, 2, 5, 100])
    def test_decodes_escapes(self, size: int) -> None:
        assert read(rb'{"raw":"YQ\u003d\u003d\/"}', size=size) == (b"YQ==/", True)

    def test_detects_a_missing_end(self) -> None:
        assert read(b'{"raw":"abc', size=4) == (b"abc", False)
