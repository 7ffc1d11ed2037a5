"""Google's batch format, in all its variants."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.gmail import batch
from services.mail.providers.gmail.batch import MalformedBatchError, decode, encode
from services.sandbox.google.gmail.batch import read_batch

BODIES = [b'{"id": "a"}', b'{\n  "id": "b"\n}\n', b'{"error": {"code": 404}}', b"", b"x" * 70_000]


def answer(
    order: list[int], *, end: bytes = b"\r\n", ids: bool = True, boundary: str = "batch_x", closed: bool = True
) -> bytes:
    """Return an answer with the bodies of `order`, each under the index of its call."""
    lines = []
    for place in order:
        lines += [f"--{boundary}".encode(), b"Content-Type: application/http"]
        lines += [f"Content-ID: <response-item-{place}>".encode()] if ids else []
        status = b"404 Not Found" if place == 2 else b"200 OK"
        lines += [b"", b"HTTP/1.1 " + status, b"Content-Type: application/json; charset=UTF-8", b"", BODIES[place]]
    return end.join([*lines, f"--{boundary}--".encode() if closed else b"", b""])


def bodies(parts: dict[int, batch.Part]) -> dict[int, str]:
    """Return the body of each part, without the line end that belongs to the boundary."""
    return {place: part.body.strip() for place, part in parts.items()}


EXPECTED = {place: body.strip().decode() for place, body in enumerate(BODIES)}


class TestDecode:
    @pytest.mark.parametrize("end", [b"\r\n", b"\n"])
    def test_reads_either_line_end(self, end: bytes) -> None:
        assert bodies(decode("multipart/mixed; boundary=batch_x", answer([0, 1, 2, 3, 4], end=end))) == EXPECTED

    @pytest.mark.parametrize("seed", range(5))
    def test_matches_by_content_id_in_any_order(self, seed: int) -> None:
        order = random.Random(seed).sample(range(5), 5)
        assert bodies(decode("multipart/mixed; boundary=batch_x", answer(order))) == EXPECTED

    def test_accepts_content_ids_without_the_response_prefix(self) -> None:
        echoed = answer([2, 0, 1, 4, 3]).replace(b"<response-item-", b"<item-")
        assert bodies(decode("multipart/mixed; boundary=batch_x", echoed)) == EXPECTED

    def test_matches_by_order_without_content_ids(self) -> None:
        assert bodies(decode("multipart/mixed; boundary=batch_x", answer([0, 1, 2, 3, 4], ids=False))) == EXPECTED

    def test_returns_the_status_of_each_part(self) -> None:
        parts = decode("multipart/mixed; boundary=batch_x", answer([0, 1, 2]))
        assert {place: part.status for place, part in parts.items()} == {0: 200, 1: 200, 2: 404}

    def test_leaves_out_missing_parts(self) -> None:
        parts = decode("multipart/mixed; boundary=batch_x", answer([3, 0]))
        assert parts.keys() == {0, 3}

    @pytest.mark.parametrize("kept", range(0, 200, 7))
    def test_returns_the_whole_parts_of_a_truncated_body(self, kept: int) -> None:
        whole = answer([0, 1, 2])
        parts = decode("multipart/mixed; boundary=batch_x", whole[:kept])
        last = max(parts, default=0)
        assert all(part.body.strip() == EXPECTED[place] for place, part in parts.items() if place != last)

    def test_needs_no_closing_boundary(self) -> None:
        assert bodies(decode("multipart/mixed; boundary=batch_x", answer([0, 1], closed=False))) == {
            place: EXPECTED[place] for place in (0, 1)
        }

    @pytest.mark.parametrize(
        "content_type",
        ['multipart/mixed; boundary="batch_x"', "multipart/mixed; Boundary=batch_x; charset=UTF-8"],
    )
    def test_reads_the_boundary_in_any_notation(self, content_type: str) -> None:
        assert decode(content_type, answer([0])).keys() == {0}

    def test_returns_the_retry_after_header(self) -> None:
        part = b"--b\r\nContent-ID: <response-item-0>\r\n\r\nHTTP/1.1 429 X\r\nRetry-After: 30\r\n\r\n{}\r\n--b--"
        assert decode("multipart/mixed; boundary=b", part)[0].retry_after == "30"

    @pytest.mark.parametrize("content_type", ["", "text/html", "application/json; charset=UTF-8"])
    def test_refuses_other_content_types(self, content_type: str) -> None:
        with pytest.raises(MalformedBatchError):
            decode(content_type, b"<html>")

    @given(st.binary(max_size=300))
    def test_never_fails_in_another_way(self, body: bytes) -> None:
        decode("multipart/mixed; boundary=b", b"--b\r\n" + body)


class TestEncode:
    def test_can_be_parsed_by_a_server(self) -> None:
        paths = [f"/gmail/v1/users/me/messages/{place}?format=full" for place in range(3)]
        parts = read_batch(encode(paths), batch.CONTENT_TYPE)
        assert [(part.verb, part.target) for part in parts] == [("GET", path) for path in paths]
