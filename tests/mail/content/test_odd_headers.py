"""Headers: dates, addresses, subjects, encoded words, raw bytes, message ids."""

from datetime import UTC, datetime

import pytest

from services.mail.content import Address, parse_raw
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import parse, raw


def date_of(value: str) -> datetime | None:
    return parse(f"Date: {value}").sent_at


class TestDates:
    """Missing, unparsable and odd dates give null or UTC; the header is kept."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("Tue, 03 Sep 2002 12:34:56 +0200", datetime(2002, 9, 3, 10, 34, 56, tzinfo=UTC)),
            ("3 Sep 2002 12:34 -0730", datetime(2002, 9, 3, 20, 4, tzinfo=UTC)),
            ("Tue, 3 Sep 2002 12:34:56 -0000", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("Tue, 3 Sep 2002 12:34:56 +2400", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("Tue, 3 Sep 2002 12:34:56 EDT (eastern)", datetime(2002, 9, 3, 16, 34, 56, tzinfo=UTC)),
            ("Tue, 3 Sep 2002 12:34:56 EST5", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("(comment) Tue, 3 Sep 02 12:34:56 GMT", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("3 Sep 99 12:34:56 GMT", datetime(1999, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("3 Sep 102 12:34:56 GMT", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("Вт, 3 сен 2002 12:34:56 +0400", datetime(2002, 9, 3, 8, 34, 56, tzinfo=UTC)),
            ("Mo, 3 Dez 2018 12:34:56 +0100", datetime(2018, 12, 3, 11, 34, 56, tzinfo=UTC)),
            ("Tue Sep  3 12:34:56 2002", datetime(2002, 9, 3, 12, 34, 56, tzinfo=UTC)),
            ("2002-09-03T12:34:56+02:00", datetime(2002, 9, 3, 10, 34, 56, tzinfo=UTC)),
            ("Sep 3, 2002 1:34:56 PM", datetime(2002, 9, 3, 13, 34, 56, tzinfo=UTC)),
            ("Tue, 3 Sep 0102 12:34:56 +-0500", datetime(2002, 9, 3, 17, 34, 56, tzinfo=UTC)),
            ("3 Sep 2002 1:4:5 0530", datetime(2002, 9, 2, 19, 34, 5, tzinfo=UTC)),
            ("3 Sep 2002 01.04.05 +0000", datetime(2002, 9, 3, 1, 4, 5, tzinfo=UTC)),
            ("Sat, 31 Dec 2005 23:59:60 GMT", datetime(2006, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_readable_ones_become_utc(self, value: str, expected: datetime) -> None:
        assert date_of(value) == expected

    @pytest.mark.parametrize(
        "value",
        [
            *("", "soon", "(never)", "Mon, 32 Foo 0000 25:61:99 +2400", "Mon, 1 Jan 0000 00:00:00 GMT"),
            *("1 Jan 1900 00:00:00 GMT", "1 Jan 9999 00:00:00 GMT", "1 Jan 99999 00:00:00 GMT", "31 Feb 2002 1:00 GMT"),
            *("1 Jan 2002 25:00:00 GMT", "31 Dec 1969 23:59:59 +0000", "1 Jan 1970 00:00:00 +0100"),
        ],
    )
    def test_others_become_null_and_keep_their_header(self, value: str) -> None:
        message = parse(f"Date: {value}")
        assert message.sent_at is None
        assert message.header("date") == value

    def test_a_missing_one_is_null(self) -> None:
        assert parse("Subject: x").sent_at is None


class TestSenders:
    """Any From header gives authors or none, never an error."""

    @pytest.mark.parametrize(
        "headers", [("Subject: x",), ("From:",), ("From: <>",), ("From: undisclosed-recipients:;",)]
    )
    def test_nobody_named_is_null(self, headers: tuple[str, ...]) -> None:
        message = parse(*headers)
        assert message.from_ is None
        assert message.authors == ()

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("Ann <a@x.org>, b@y.org", [("Ann", "a@x.org"), ("", "b@y.org")]),
            ('"Doe, John" <j@x.org>', [("Doe, John", "j@x.org")]),
            ("Doe, John <j@x.org>", [("Doe, John", "j@x.org")]),
            ("a@x.org, Doe, John <j@x.org>", [("", "a@x.org"), ("Doe, John", "j@x.org")]),
            ('"boss@bank.com" <evil@x.org>', [("boss@bank.com", "evil@x.org")]),
            ("boss@bank.com <evil@x.org>", [("boss@bank.com", "evil@x.org")]),
            ("Bob [Ext] <b@x.org>", [("Bob [Ext]", "b@x.org")]),
            ("Bob <Ext> <b@x.org>", [("Bob <Ext>", "b@x.org")]),
            ("<<b@x.org>>", [("", "b@x.org")]),
            ("<b@x.org", [("", "b@x.org")]),
            ("b@x.org (Bob)", [("Bob", "b@x.org")]),
            ("Bob (Ext) <b@x.org>", [("Bob (Ext)", "b@x.org")]),
            ("Team: a@x.org, b@y.org;, c@z.org", [("", "a@x.org"), ("", "b@y.org"), ("", "c@z.org")]),
            ("a@x.org; b@y.org", [("", "a@x.org"), ("", "b@y.org")]),
            ("<@relay.org:b@x.org>", [("", "b@x.org")]),
            ('"a b"@x.org', [("", '"a b"@x.org')]),
            ("MAILER-DAEMON", [("MAILER-DAEMON", "")]),
            ('"Jo \\"J\\" Doe" <j@x.org>', [('Jo "J" Doe', "j@x.org")]),
            ("=?utf-8?q?Doe=2C_John_=3Cboss=40bank=3E?= <j@x.org>", [("Doe, John <boss@bank>", "j@x.org")]),
            ("=?utf-8?q?Doe,_John?= <j@x.org>", [("Doe, John", "j@x.org")]),
            ('"unclosed <j@x.org>', [('"unclosed', "j@x.org")]),
        ],
    )
    def test_names_and_addresses_are_told_apart(self, value: str, expected: list[tuple[str, str]]) -> None:
        message = parse(f"From: {value}")
        assert message.authors == tuple(Address(name, email) for name, email in expected)
        assert message.from_ == message.authors[0]

    def test_an_mbox_envelope_line_is_no_header(self) -> None:
        message = parse_raw(b"From a@x.org Tue Sep  3 2002\nFrom: b@y.org\nSubject: s\n\ntext")
        assert message.from_ == Address("", "b@y.org")
        assert [name for name, _ in message.headers] == ["From", "Subject"]


class TestSubjects:
    """A missing subject and an empty one are different; long ones are kept whole."""

    def test_missing_is_null(self) -> None:
        assert parse("From: a@x.org").subject is None

    @pytest.mark.parametrize("line", ["Subject:", "Subject:   ", "Subject: \t "])
    def test_blank_is_empty(self, line: str) -> None:
        assert parse(line).subject == ""

    def test_folding_becomes_one_space(self) -> None:
        assert parse("Subject: one\n two\n\tthree\n\n").subject == "one two three"

    def test_ten_kilobytes_are_kept(self) -> None:
        words = "\n ".join(["word" * 12] * 210)
        assert parse(f"Subject: {words}").subject == " ".join(["word" * 12] * 210)


class TestHeaderLists:
    """Odd, repeated and excessive headers: the first wins for display, all are kept in order."""

    def test_the_first_of_a_name_wins_and_all_are_kept(self) -> None:
        message = parse(
            "Subject: first",
            "From: a@x.org",
            "SUBJECT: second",
            "from: b@x.org",
            "Message-ID: <1@x>",
            "message-id: <2@x>",
        )
        assert message.subject == "first"
        assert message.from_ == Address("", "a@x.org")
        assert message.message_id == "1@x"
        assert [name for name, _ in message.headers] == [
            "Subject",
            "From",
            "SUBJECT",
            "from",
            "Message-ID",
            "message-id",
        ]

    def test_recipients_of_repeated_headers_are_joined(self) -> None:
        assert [each.email for each in parse("To: a@x.org", "To: b@x.org").to] == ["a@x.org", "b@x.org"]

    def test_names_in_any_case_and_with_space_before_the_colon_are_found(self) -> None:
        message = parse("sUbJeCt : spaced", "CONTENT-TYPE : text/html", body="<p>x</p>")
        assert message.subject == "spaced"
        assert message.html == "<p>x</p>"
        assert message.header("Subject") == "spaced"

    def test_a_line_without_colon_among_headers_is_passed_over(self) -> None:
        message = parse("Subject: s", "junk without colon", "From: a@x.org", body="text")
        assert (message.subject, message.from_, message.text) == ("s", Address("", "a@x.org"), "text")
        assert message.defects == ("header-line-without-field",)

    def test_a_missing_blank_line_before_the_body_loses_no_text(self) -> None:
        message = parse_raw(b"Subject: s\nHello there.\nHow are you?\n\nBye.")
        assert message.subject == "s"
        assert message.text == "Hello there.\nHow are you?\n\nBye."

    def test_half_a_megabyte_of_headers_is_kept_and_two_are_cut(self) -> None:
        received = "Received: from a.example by b.example;\n Tue, 3 Sep 2002 12:34:56 +0200"
        kept = parse(*[received] * 6000, "Subject: last", body="text")
        assert (len(kept.headers), kept.subject, kept.truncated) == (6001, "last", False)
        cut = parse("Subject: first", *[received] * 30_000, body="text")
        assert (cut.subject, cut.text, cut.truncated) == ("first", "text", True)
        assert sum(len(name) + len(value) for name, value in cut.headers) <= 1024 * 1024


class TestEncodedWords:
    """RFC 2047 words, well formed or not."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("=?utf-8?B?0J/RgNC40LLQtdGC?=", "Привет"),
            ("=?utf-8?b?0J/RgNC40LLQtdGC?= =?UTF-8?q?_=D0=BC=D0=B8=D1=80?=", "Привет мир"),
            ("=?utf-8?Q?=D0?= =?utf-8?Q?=9F?=", "П"),
            ("=?utf-8?B?0J/R?=\n =?utf-8?B?gNC4?=", "При"),
            ("=?utf-8?B?0J/RgNC4?= =?koi8-r?B?18XU?=", "Привет"),
            ("=?utf-8?B?0J/RgNC40LLQtdGC", "=?utf-8?B?0J/RgNC40LLQtdGC"),
            ("=?utf-8?Q?two words?= here", "two words here"),
            ("=?x-unknown-charset?Q?caf=E9?=", "=?x-unknown-charset?Q?caf=E9?="),
            ("=?x-unknown-charset?Q?caf=C3=A9?=", "café"),
            ('"=?iso-8859-1?Q?caf=E9?="', '"café"'),
            ("naïve =?iso-8859-1?Q?caf=E9?=", "naïve café"),
            ("=?utf-8?B?0J/RgNC40LLQtdGCIQ?=", "Привет!"),
            ("=?utf-8?B?0J/R*gNC4?=", "При"),
            ("=?utf-8*ru?Q?=D0=9F?=", "П"),
            ("=?utf-8?B?0J8=?==?utf-8?B?0YA=?=", "Пр"),
            ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
            ("=?utf-8?q?missing =?utf-8?q?found?=", "=?utf-8?q?missing found"),
            ("=?gb2312?B?t6LGsQ==?=", "发票"),
            ("=?iso-2022-jp?B?GyRCJUYlOSVIGyhC?=", "テスト"),
            ("=?utf-8?Q?line=0D=0ABcc:_x?=", "line Bcc: x"),
        ],
    )
    def test_words_are_decoded_or_left_as_they_are(self, value: str, expected: str) -> None:
        assert parse(f"Subject: {value}").subject == expected

    def test_words_in_names_are_decoded_after_the_structure_is_read(self) -> None:
        assert parse("From: =?utf-8?Q?a=40b=2C?= c <d@x.org>").authors == (Address("a@b, c", "d@x.org"),)


class TestEightBitHeaders:
    """Raw 8-bit header values: UTF-8, the body's charset, detection, windows-1252."""

    @pytest.mark.parametrize(
        ("charset", "declared", "subject"),
        [
            ("utf-8", "windows-1251", "Счёт за июль"),
            ("windows-1251", "windows-1251", "Счёт за июль"),
            ("koi8-r", "koi8-r", "Счёт за июль"),
            ("gb18030", "gb18030", "七月份发票"),
            ("windows-1251", None, "Счёт за июль"),
            ("koi8-r", None, "Счёт за июль"),
            ("gb18030", None, "您的七月份发票已经开好"),
            ("windows-1252", None, "Votre reçu d'été"),
        ],
    )
    def test_the_charset_is_found(self, charset: str, declared: str | None, subject: str) -> None:
        content_type = f"Content-Type: text/plain; charset={declared}" if declared else "X: y"
        assert parse(b"Subject: " + subject.encode(charset), content_type).subject == subject

    def test_internationalised_and_punycode_addresses_stay_as_written(self) -> None:
        message = parse("From: Иван <иван@почта.рф>", "To: a@xn--80a1acny.xn--p1ai")
        assert message.from_ == Address("Иван", "иван@почта.рф")
        assert message.to == (Address("", "a@xn--80a1acny.xn--p1ai"),)

    def test_bytes_of_no_charset_never_fail(self) -> None:
        subject = parse(b"Subject: \x81\x8d\xff\xfe").subject
        assert subject is not None
        subject.encode()


class TestManyRecipients:
    """Thousands of recipients, duplicates and Bcc are all there, in order."""

    def test_six_thousand_recipients_are_read(self) -> None:
        value = ",\n ".join(f'"User {i}" <user{i}@example.com>' for i in range(6000))
        message = parse(f"To: {value}")
        assert len(message.to) == 6000
        assert message.to[5999] == Address("User 5999", "user5999@example.com")

    def test_duplicates_and_bcc_are_kept(self) -> None:
        message = parse("To: a@x.org, a@x.org", "Cc: A@X.org", "Bcc: secret@x.org")
        assert [each.email for each in (*message.to, *message.cc)] == ["a@x.org", "a@x.org", "A@X.org"]
        assert message.bcc == (Address("", "secret@x.org"),)


class TestMessageIds:
    """Message ids in every form; length is no limit here."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("<a@x>", "a@x"),
            ("a@x", "a@x"),
            (" < a@x > ", "a@x"),
            ("<a b@x>", "ab@x"),
            ("<a@x> <b@x>", "a@x"),
            ("<" + "a" * 5000 + "@x>", "a" * 5000 + "@x"),
            ("", None),
            ("<>", None),
        ],
    )
    def test_brackets_and_spaces_are_no_part_of_it(self, value: str, expected: str | None) -> None:
        assert parse(f"Message-ID: {value}").message_id == expected

    def test_references_of_twenty_kilobytes_are_all_read(self) -> None:
        ids = [f"{i:030}@mail.example.com" for i in range(420)]
        message = parse("References: " + "\n ".join(f"<{each}>" for each in ids), f"In-Reply-To: <{ids[-1]}>")
        assert message.references == tuple(ids)
        assert message.in_reply_to == ids[-1]

    def test_prose_around_an_id_is_dropped(self) -> None:
        assert parse('In-Reply-To: Your message of "Tue" <a@x>').in_reply_to == "a@x"
        assert parse("In-Reply-To: Your message of Tuesday").in_reply_to is None

    def test_a_missing_one_is_null(self) -> None:
        assert parse_gmail({"payload": {}}).message_id is None
        assert parse_raw(raw("Subject: x")).references == ()
