"""Trees of malformed mail: any bytes have a tree that can be rendered."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.google.gmail.resources import Renderer, to_json
from services.sandbox.mime.content import StoredContent, snippet_of
from services.sandbox.mime.part_tree import decode_header, parse_message

CORPUS = Path(__file__).parents[4] / "shared" / "corpus" / "real-mail.tar.gz"
PIECES = [
    b"From: a@b\r\n",
    b"Subject: =?utf-8?B?0J?=\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/html; charset=\0\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''%D0; filename*1=\r\n",
    b"\r\n",
    b"--x\r\n",
    b"--x--\r\n",
    b"\xff\xfe\x00=\r\n",
    b"a=3D=\n",
]


def _shown(raw: bytes) -> dict[str, object]:
    content = StoredContent(raw)
    tree = content.tree()
    shown: dict[str, object] = json.loads(to_json(Renderer()._part(tree, "", [])))
    assert isinstance(snippet_of(tree), str)
    return shown


class TestParse:
    @given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=40))
    def test_anything_has_a_tree(self, chunks: list[bytes]) -> None:
        assert "mimeType" in _shown(b"".join(chunks))

    @pytest.mark.parametrize("depth", [99, 101, 3000])
    def test_deep_nesting_ends_somewhere(self, depth: int) -> None:
        head = b"".join(
            b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(depth)
        )
        assert _shown(head + b"\r\nbottom")["mimeType"] == "multipart/mixed"

    def test_a_message_inside_a_message_is_its_child(self) -> None:
        inner = b"Subject: inner\r\n\r\ntext\r\n"
        part = parse_message(b"Subject: outer\r\nContent-Type: message/rfc822\r\n\r\n" + inner)
        [child] = part.parts
        assert (part.header("Subject"), child.header("Subject"), child.read()) == ("outer", "inner", b"text\r\n")

    def test_real_mail_can_be_shown(self) -> None:
        if not CORPUS.exists():
            pytest.skip(f"{CORPUS} is absent")
        for raw in _corpus():
            assert "headers" in _shown(raw)


def _corpus() -> Iterator[bytes]:
    with tarfile.open(CORPUS) as archive:
        for i, member in enumerate(archive):
            file = archive.extractfile(member) if member.isfile() and i % 5 == 0 else None
            if file is not None:
                yield file.read()


class TestDecodeHeader:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("plain", "plain"),
            ("=?utf-8?Q?caf=C3=A9_x?=", "café x"),
            ("=?koi8-r?b?8NLJ18XU?=", "Привет"),
            ("=?utf-8?B?0J/RgNC40LLQ?= =?utf-8?B?tdGC?=", "Привет"),
            ("a =?utf-8?q?=D0=B1?= c =?utf-8?q?=D0=B3?=", "a б c г"),
            ("=?x-unknown?Q?=C0?= rest", "=?x-unknown?Q?=C0?= rest"),
            ("=?utf-8?B?abc", "=?utf-8?B?abc"),
            ("=?utf-8?Q?=C0?=", "=?utf-8?Q?=C0?="),
        ],
    )
    def test_words_are_decoded_and_broken_ones_left(self, value: str, text: str) -> None:
        assert decode_header(value) == text


class TestEightBitHeaders:
    @pytest.mark.parametrize(
        ("charset", "subject"),
        [
            ("utf-8", "Grüße aus Köln"),
            ("windows-1252", "Grüße aus Köln"),
            ("big5", "純商業辦公室出租"),
            ("gb18030", "改善掉发，预防秃头的最佳选择"),
            ("shift_jis", "会議室の予約について"),
            ("windows-1251", "Привет из прошлого"),
            ("koi8-r", "Привет из прошлого"),
        ],
    )
    def test_they_are_read_though_nothing_names_their_charset(self, charset: str, subject: str) -> None:
        raw = b"Subject: " + subject.encode(charset) + b"\r\n\r\n" + (subject * 4).encode(charset)
        assert parse_message(raw).header("Subject") == subject

    def test_the_charset_of_the_body_goes_before_any_guess(self) -> None:
        raw = b"Subject: \xe5\xe4\xf6\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\ntext"
        assert parse_message(raw).header("Subject") == "ЕДЖ"

    def test_they_can_be_mangled(self) -> None:
        raw = b"Subject: Gr\xfc\xdfe =?utf-8?q?=C3=BC?=\r\n\r\n"
        assert parse_message(raw, headers="mangled").header("Subject") == "Gr\ufffd\ufffde ü"

    def test_the_guess_looks_at_so_much_only(self) -> None:
        raw = b"Subject: Gr\xfc\xdfe\r\n\r\n" + b"\xe4\xf6\xfc and so on\r\n" * 1_000_000
        assert parse_message(raw).header("Subject") == "Grüße"
