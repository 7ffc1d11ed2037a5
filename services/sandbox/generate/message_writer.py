"""Composes one generated message: headers and body as its kind needs them."""

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from math import exp
from random import Random
from statistics import NormalDist

from services.sandbox.generate.correspondents import PARAGRAPHS, Correspondence, paragraphs
from services.sandbox.generate.phrases import COMPANIES, FILES
from services.sandbox.generate.seeded_random import SeededRandom
from services.sandbox.mime.builder import Branch, ComposedContent, Leaf

_NORMAL = NormalDist()
PARAGRAPH_COUNTS = tuple(max(1, round(exp(1.0 + 0.9 * _NORMAL.inv_cdf((i + 0.5) / 128)))) for i in range(128))
"""Text lengths: median 3 paragraphs, one in a hundred above 20."""
FILE_SIZES = tuple(min(8_000_000, round(exp(11.2 + 1.5 * _NORMAL.inv_cdf((i + 0.5) / 128)))) for i in range(128))
"""Attachment sizes in bytes: median 73 kB, one in a hundred above 2 MB."""


class MessageWriter:
    """Composes one message. `ancestry` has the numbers of the message and its ancestors, itself first."""

    def __init__(self, mail: Correspondence, kind: str, ancestry: list[int], *, date_ms: int) -> None:
        self._mail = mail
        self._index = ancestry[0]
        self._kind = kind
        self._random = random = SeededRandom(mail.key, self._index)
        self._date_ms = date_ms
        self._ancestry = ancestry
        self._contact = mail.contact(self._ancestry[-1])
        # Correspondence.contact takes the first random number of an index; repeating it would couple the two.
        random.below(512)
        self._author = mail.own if kind == "sent" else self._contact
        charset = self._contact.charset
        self._charset = "utf-8" if self._author is mail.own else charset
        self._texts = paragraphs(self._contact.language, self._charset)
        self._picked = [random.choice(self._texts) for _ in range(random.choice(PARAGRAPH_COUNTS))]

    def compose(self) -> ComposedContent:
        """Return the message."""
        return ComposedContent(
            headers=self._headers(),
            body=self._body(),
            charset=self._charset,
            quoted=self._author.quoted,
        )

    def _headers(self) -> list[tuple[str, str]]:
        zone = timezone(timedelta(minutes=self._author.zone))
        date = format_datetime(datetime.fromtimestamp(self._date_ms // 1000, zone))
        headers = self._trace(date) if self._kind != "sent" else []
        headers += [
            ("Date", date),
            ("From", self._from()),
            ("To", self._to()),
            ("Message-ID", self._mail.message_id(self._index)),
            ("Subject", self._subject()),
        ]
        if len(self._ancestry) > 1:
            headers.append(("In-Reply-To", self._mail.message_id(self._ancestry[1])))
            headers.append(("References", " ".join(self._mail.message_id(i) for i in self._ancestry[:0:-1][-20:])))
        headers += self._list_headers()
        if self._author.program:
            headers.append(("X-Mailer", self._author.program))
        headers.append(("MIME-Version", "1.0"))
        return headers

    def _trace(self, date: str) -> list[tuple[str, str]]:
        host = self._contact.address.rpartition("@")[2]
        token = self._random.token(24)
        return [
            ("Delivered-To", self._mail.email),
            ("Received", f"by 2002:a05:6402:{token[:4]} with SMTP id {token}; {date}"),
            ("Return-Path", f"<{self._contact.address}>"),
            (
                "Received",
                f"from mx.{host} (mx.{host} [192.0.2.{self._index % 250}]) by mx.sandbox.example with ESMTPS; {date}",
            ),
            ("Received-SPF", f"pass (sandbox.example: domain of {self._contact.address} designates 192.0.2.1)"),
            (
                "DKIM-Signature",
                f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={host}; s=s1; h=from:to:subject; bh={token}; b={token * 3}",
            ),
        ]

    def _from(self) -> str:
        kind = self._kind
        if kind == "sent":
            return self._mail.me
        if kind in ("newsletter", "notification", "social"):
            name, host = COMPANIES[self._index % len(COMPANIES)]
            return f"{name} <no-reply@{host}>"
        if kind == "bounce":
            return "Mail Delivery Subsystem <mailer-daemon@mx.sandbox.example>"
        return f"{self._contact.name} <{self._contact.address}>"

    def _to(self) -> str:
        if self._kind == "sent":
            return f"{self._contact.name} <{self._contact.address}>"
        if self._kind == "forum":
            return "Engineers <engineers@lists.example.org>"
        return self._mail.me

    def _subject(self) -> str:
        subject = self._mail.subject(self._ancestry[-1])
        if self._kind == "bounce":
            return "Delivery Status Notification (Failure)"
        if self._kind == "forward":
            return f"Fwd: {subject}"
        return self._contact.language.reply + subject if len(self._ancestry) > 1 else subject

    def _list_headers(self) -> list[tuple[str, str]]:
        if self._kind == "newsletter":
            return [
                ("List-Unsubscribe", f"<https://digest.example/u/{self._random.token(12)}>"),
                ("Precedence", "bulk"),
            ]
        if self._kind == "forum":
            return [("List-Id", "Engineers <engineers.lists.example.org>"), ("Precedence", "list")]
        return []

    def _body(self) -> Leaf | Branch:
        match self._kind:
            case "newsletter":
                return self._newsletter()
            case "notification" | "bounce":
                return self._plain()
            case "invitation":
                return self._invitation()
            case "forward":
                return self._forward()
            case _:
                return self._conversation()

    def _boundary(self, level: str) -> str:
        return f"=_{level}_{self._random.token(16)}"

    def _plain(self) -> Leaf:
        content = b"\r\n\r\n".join([paragraph.plain for paragraph in self._picked])
        if len(self._ancestry) > 1:
            content += b"\r\n\r\n" + self._texts[self._ancestry[1] % PARAGRAPHS].quote
        return self._text_leaf("text/plain", content)

    def _text_leaf(self, mime_type: str, content: bytes) -> Leaf:
        encoding = self._author.encoding
        if self._charset in ("us-ascii", "iso-2022-jp"):
            encoding = "7bit" if mime_type == "text/plain" else "quoted-printable"
        return Leaf(mime_type, content, len(content), encoding, self._charset)

    def _html(self, head: bytes = b"") -> Leaf:
        chunks = [b"<html><head>", head, b"</head><body>\r\n", *(paragraph.html for paragraph in self._picked)]
        return self._text_leaf("text/html", b"".join([*chunks, b"</body></html>\r\n"]))

    def _alternative(self, *extra: Leaf) -> Branch:
        return Branch("multipart/alternative", self._boundary("alt"), [self._plain(), self._html(), *extra])

    def _conversation(self) -> Leaf | Branch:
        body: Leaf | Branch = self._plain() if self._random.chance(40) else self._alternative()
        if self._random.chance(6):
            image = self._file(3, disposition="inline", content_id=f"image{self._index}@sandbox")
            body = Branch("multipart/related", self._boundary("rel"), [body, image])
        if self._random.chance(16):
            files: list[Leaf | Branch] = [self._file(n) for n in range(1 + self._random.below(3))]
            body = Branch("multipart/mixed", self._boundary("mix"), [body, *files])
        return body

    def _newsletter(self) -> Branch:
        rules = b".c%d{margin:0 auto;padding:12px;font:14px/1.5 sans-serif;color:#333}\r\n"
        style = b"".join(rules % i for i in range(10 + self._random.below(80)))
        parts: list[Leaf | Branch] = [self._plain(), self._html(b"<style>" + style + b"</style>")]
        return Branch("multipart/alternative", self._boundary("alt"), parts)

    def _invitation(self) -> Branch:
        stamp = f"{self._index:08d}"
        calendar = (
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n"
            f"UID:{stamp}@sandbox\r\nDTSTART:20260105T100000Z\r\nSUMMARY:{self._mail.subject(self._index)}\r\n"
            "END:VEVENT\r\nEND:VCALENDAR\r\n"
        ).encode()
        invite = Leaf("text/calendar", calendar, len(calendar), "base64", "utf-8", parameters="; method=REQUEST")
        copy = Leaf(
            "application/ics", calendar, len(calendar), "base64", filename="invite.ics", disposition="attachment"
        )
        return Branch("multipart/mixed", self._boundary("mix"), [self._alternative(invite), copy])

    def _forward(self) -> Branch:
        file = self._file(0)
        archive = Leaf(
            "application/pgp-signature", b"-----BEGIN PGP SIGNATURE-----\r\n", 31, "7bit", filename="signature.asc"
        )
        return Branch("multipart/signed", self._boundary("sig"), [self._alternative(), file, archive])

    def _file(self, number: int, *, disposition: str = "attachment", content_id: str = "") -> Leaf:
        name, mime_type, magic = FILES[3] if content_id else self._random.choice(FILES)
        size = len(magic) + self._random.choice(FILE_SIZES)
        seed = f"{self._random.token(16)}:{number}"

        def content() -> bytes:
            return magic + Random(seed).randbytes(size - len(magic))  # noqa: S311 - reproducible by design

        return Leaf(mime_type, content, size, "base64", None, name, disposition, content_id)
