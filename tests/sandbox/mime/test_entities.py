"""Entities of a multipart, as their bytes were sent."""

import pytest

from services.sandbox.mime.entities import split_multipart


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
class TestSplitMultipart:
    def test_gives_the_bytes_between_delimiter_lines(self, end: bytes) -> None:
        lines = [b"preamble", b"--x", b"A: 1", b"", b"one", b"--x", b"", b"two", b"", b"--x--", b"epilogue"]
        assert split_multipart(end.join(lines), "x") == [end.join([b"A: 1", b"", b"one"]), end + b"two" + end]

    def test_takes_a_delimiter_in_the_first_line_and_spaces_after_it(self, end: bytes) -> None:
        assert split_multipart(end.join([b"--x \t", b"one", b"--x--"]), "x") == [b"one"]

    def test_takes_no_delimiter_within_a_line_and_none_of_a_longer_boundary(self, end: bytes) -> None:
        body = end.join([b"--x", b"in --x", b"--xy", b"---x", b"--x--"])
        assert split_multipart(body, "x") == [end.join([b"in --x", b"--xy", b"---x"])]

    def test_ends_the_last_entity_where_a_body_without_its_end_does(self, end: bytes) -> None:
        assert split_multipart(end.join([b"--x", b"one", b"--x", b"two"]), "x") == [b"one", b"two"]
