"""Malformed and unusual mail as it occurs in real mailboxes: one maker per deviation.

Makers return RFC 5322 bytes, or bytes that are close to them. `malformed_message` cycles through all of them.
"""

from base64 import b64encode
from collections.abc import Callable
from email.utils import formatdate

from services.sandbox.generate.seeded_random import SeededRandom

Maker = Callable[[str, str], bytes]


def _mail(head: str | bytes, body: bytes = b"Hello.\r\n") -> bytes:
    lines = head.encode("utf-8", "surrogateescape") if isinstance(head, str) else head
    return lines.replace(b"\n", b"\r\n") + b"\r\n" + body


def _date_missing(to: str, _date: str) -> bytes:
    return _mail(f"From: a@example.com\nTo: {to}\nSubject: no date\n")


def _date_absurd(to: str, date: str) -> bytes:
    zones = (
        "Mon, 32 Foo 0000 25:61:99 +2400",
        "Tue, 01 Jan 1900 00:00:00 EST5",
        "1 janvier 99999",
        "(never)",
        "Fri, 7 Feb 03",
    )
    return _mail(f"Date: {zones[len(date + to) % len(zones)]}\nFrom: a@example.com\nTo: {to}\nSubject: odd date\n")


def _from_missing(to: str, date: str) -> bytes:
    return _mail(f"Date: {date}\nTo: {to}\nSubject: nobody wrote this\n")


def _from_strange(to: str, date: str) -> bytes:
    senders = '"x@y.example, Inc." <>, b@[example, Team <t@example.com>, undisclosed-recipients:;'
    return _mail(f"Date: {date}\nFrom: {senders}\nTo: undisclosed-recipients:;\nCc: {to}, {to}\nSubject: odd senders\n")


def _mbox_line(to: str, date: str) -> bytes:
    return _mail(
        f"From a@example.com {date}\nDate: {date}\nFrom: a@example.com\nTo: {to}\nSubject: after a From line\n"
    )


def _subject_missing(to: str, date: str) -> bytes:
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {to}\n")


def _subject_empty(to: str, date: str) -> bytes:
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject:\n")


def _subject_long(to: str, date: str) -> bytes:
    words = "\n ".join("word" * 12 for _ in range(14))
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: {words}\n")


def _headers_twice(to: str, date: str) -> bytes:
    return _mail(
        f"DATE: {date}\nfrom: first@example.com\nFrom: second@example.com\nTo: {to}\nSubject: first\nsubject : second\n"
        "no colon here\nMessage-ID: <one@example>\nMessage-Id: <two@example>\n"
    )


def _received_chain(to: str, date: str) -> bytes:
    hops = "".join(f"Received: from h{i}.example by h{i + 1}.example; {date}\n" for i in range(300))
    return _mail(f"{hops}Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: far travelled\n")


def _broken_words(to: str, date: str) -> bytes:
    split = "=?utf-8?B?0J/RgNC40LLQ?=\n =?utf-8?B?tdGC?= =?utf-8?q?=d0=bc=d0?=\n =?utf-8?q?=b8=d1=80?="
    return _mail(
        f"Date: {date}\nFrom: =?x-unknown?Q?=C0=C1?= <a@example.com>\nTo: {to}\nSubject: {split} =?utf-8?B?abc\n"
    )


def _raw_eight_bit(to: str, date: str) -> bytes:
    subject = "Привет из прошлого".encode("koi8-r")
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\n".encode() + b"Subject: " + subject + b"\n"
    return _mail(head + b"Content-Type: text/plain; charset=koi8-r\n", "Текст без заголовка.\r\n".encode("koi8-r"))


def _charset_lies(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: charset\nMIME-Version: 1.0\n"
    return _mail(f"{head}Content-Type: text/plain; charset=iso-8859-1\n", "Это windows-1251.\r\n".encode("cp1251"))


def _charset_unknown(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: charset\nMIME-Version: 1.0\n"
    return _mail(f'{head}Content-Type: text/plain; charset="x-unknown\'"\n', "naïve café\r\n".encode())


def _bad_base64(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: base64\nContent-Transfer-Encoding: base64\n"
    return _mail(head, b64encode("Häagen — nearly whole.".encode())[:-3] + b"\r\n==\r\n")


def _bad_quoted_printable(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: qp\nContent-Transfer-Encoding: quoted-printable\n"
    return _mail(head, b"half =ZZ done =C3=A9 and a soft end=")


def _no_text(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: only a file\n"
    kind = "Content-Type: application/pdf; name=x.pdf\n"
    return _mail(f"{head}{kind}Content-Transfer-Encoding: base64\n", b64encode(b"%PDF-1.4 tiny"))


def _html_only(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: html\nContent-Type: text/html; charset=utf-8\n"
    return _mail(head, b"<html><script>alert(1)</script><p>Caf\xc3\xa9 &amp; <b>more</b><img src=x onerror=y></html>")


def _empty_multipart(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: nothing inside\n"
    return _mail(f'{head}Content-Type: multipart/mixed; boundary="b"\n', b"--b--\r\n")


def _deep(to: str, date: str) -> bytes:
    body = b"Content-Type: text/plain\r\n\r\nThe bottom.\r\n"
    for i in range(60):
        mark = f"b{i}".encode()
        inner = b"--" + mark + b"\r\n" + body + b"\r\n--" + mark + b"--\r\n"
        body = b'Content-Type: multipart/mixed; boundary="' + mark + b'"\r\n\r\n' + inner
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: deep\nMIME-Version: 1.0\n")[:-10] + body


def _open_boundary(to: str, date: str) -> bytes:
    head = (
        f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: unclosed\nContent-Type: multipart/mixed; boundary=x\n"
    )
    return _mail(head, b"preamble\r\n--x\r\nContent-Type: text/plain\r\n\r\nText.\r\n--xy\r\n--x\r\n\r\nMore text.")


def _message_inside(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: outer\nContent-Type: multipart/mixed; boundary=x\n"
    inner = b"Content-Type: message/rfc822\r\n\r\nFrom: inner@example.com\r\nSubject: inner\r\n\r\nInner text.\r\n"
    return _mail(head, b"--x\r\n\r\nOuter text.\r\n--x\r\n" + inner + b"\r\n--x--\r\n")


def _encrypted(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: ...\n"
    kind = 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x\n'
    first = b"--x\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    return _mail(
        head + kind, first + b"--x\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP-----\r\n--x--\r\n"
    )


def _tnef(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: winmail\n"
    kind = "Content-Type: application/ms-tnef; name=winmail.dat\n"
    return _mail(f"{head}{kind}Content-Transfer-Encoding: base64\n", b64encode(b"\x78\x9f\x3e\x22tnef"))


def _many_recipients(to: str, date: str) -> bytes:
    people = ",\n ".join(f"p{i}@example.com" for i in range(1500))
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {people},\n {to}\nSubject: everybody\n")


def _nul(to: str, date: str) -> bytes:
    return _mail(f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: a\x00b\n", b"before\x00after\r\n")


def _controls(to: str, date: str) -> bytes:
    text = "\ufeff\u202egnp.exe\u202c\u200b\x07\ufffe\r\n"
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: \u202ereversed\n"
    return _mail(f"{head}Content-Type: text/plain; charset=utf-8\n", text.encode())


def _cesu(to: str, date: str) -> bytes:
    head = (
        f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: surrogates\nContent-Type: text/plain; charset=utf-8\n"
    )
    return _mail(head, "half \ud83d a face\r\n".encode("utf-8", "surrogatepass"))


def _filenames(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: names\nContent-Type: multipart/mixed; boundary=x\n"
    names = (
        "filename*0*=utf-8''%D0%94%D0%BE; filename*1*=%D0%BA.txt",
        'filename="=?utf-8?B?0KTQsNC50LsudHh0?="',
        'filename="../../etc/passwd"',
        f'filename="{"n" * 300}.txt"',
        'filename="con"',
        'filename="same.txt"',
        'filename="same.txt"',
    )
    parts = [
        f"--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; {name}\r\n\r\n{name}\r\n"
        for name in names
    ]
    return _mail(head, "".join([*parts, "--x--\r\n"]).encode())


def _message_id_long(to: str, date: str) -> bytes:
    references = "\n ".join(f"<{i}.{'r' * 60}@example.com>" for i in range(200))
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: ids\nMessage-ID: <{'m' * 3000}@example>\n"
    return _mail(f"{head}References: {references}\n")


def _long_line(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: one line\n"
    return _mail(head, b"x" * 60_000 + b"\n" + b"bare\rreturns\nand feeds")


def _unsearchable(to: str, date: str) -> bytes:
    head = f"Date: {date}\nFrom: a@example.com\nTo: {to}\nSubject: blob\n"
    return _mail(head, b64encode(b"no word" * 3000) + b"\r\n")


MAKERS: tuple[Maker, ...] = (
    _date_missing,
    _date_absurd,
    _from_missing,
    _from_strange,
    _mbox_line,
    _subject_missing,
    _subject_empty,
    _subject_long,
    _headers_twice,
    _received_chain,
    _broken_words,
    _raw_eight_bit,
    _charset_lies,
    _charset_unknown,
    _bad_base64,
    _bad_quoted_printable,
    _no_text,
    _html_only,
    _empty_multipart,
    _deep,
    _open_boundary,
    _message_inside,
    _encrypted,
    _tnef,
    _many_recipients,
    _nul,
    _controls,
    _cesu,
    _filenames,
    _message_id_long,
    _long_line,
    _unsearchable,
)


def malformed_message(number: int, *, random: SeededRandom, to: str, date_ms: int) -> bytes:
    """Return a malformed message to `to`. `number` selects the deviation: any 32 in a row have all of them."""
    raw = MAKERS[number % len(MAKERS)](to, formatdate(date_ms / 1000))
    if not raw.startswith(b"Date"):
        return raw
    return f"X-Sandbox-Number: {number}.{random.token(8)}\r\n".encode() + raw
