"""Names of folders and sets of numbers on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.imap.modified_utf7 import decode, encode
from services.sandbox.imap.sequence_set import compact, matching

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")))


class TestNames:
    @pytest.mark.parametrize(
        ("name", "encoded"),
        [
            ("INBOX", b"INBOX"),
            ("Family & friends", b"Family &- friends"),
            ("Отправленные", b"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
            ("台北", b"&U,BTFw-"),
        ],
    )
    def test_are_in_modified_utf7(self, name: str, encoded: bytes) -> None:
        assert encode(name) == encoded
        assert decode(encoded) == name

    @given(TEXT)
    def test_come_back_from_the_wire(self, name: str) -> None:
        assert decode(encode(name)) == name
        assert encode(name).isascii()

    @pytest.mark.parametrize("raw", ["Спам".encode(), b"&!!!-", b"&BB4-x&A-"])
    def test_that_are_malformed_are_refused(self, raw: bytes) -> None:
        with pytest.raises(ValueError, match=r"ASCII|malformed name"):
            decode(raw)


class TestSets:
    @pytest.mark.parametrize(
        ("text", "members"),
        [
            ("1", []),
            ("2:4", [2, 4]),
            ("4:2", [2, 4]),
            ("*", [9]),
            ("900:*", [9]),
            ("1:*", [2, 4, 9]),
            ("9,2", [2, 9]),
            ("1:4294967295", [2, 4, 9]),
        ],
    )
    def test_hold_numbers(self, text: str, members: list[int]) -> None:
        assert matching(text, [2, 4, 9]) == members

    @pytest.mark.parametrize("text", ["", "a", "1:", ":1", "1,,2", "1:2:3", "4294967296"])
    def test_that_are_malformed_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"malformed set|too large"):
            matching(text, [1])

    @given(st.sets(st.integers(1, 10_000)))
    def test_are_written_compactly(self, numbers: set[int]) -> None:
        ascending = sorted(numbers)
        assert not ascending or matching(compact(ascending), range(1, 10_001)) == ascending
