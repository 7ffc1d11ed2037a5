"""Generated mail: a mailbox of any size in which each message is made from the seed and its number when it is read.

Nothing is kept but the number. What a message looks like (kind, thread, labels) is planned from a hash of the number,
so that a message can name its parent without any other message existing in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from math import exp
from random import Random
from statistics import NormalDist

from services.sandbox.compose import Branch, Composed, Leaf
from services.sandbox.content import Content, KeptContent
from services.sandbox.correspondents import PARAGRAPHS, Contact, make_contacts, paragraphs
from services.sandbox.draws import Draws
from services.sandbox.phrases import COMPANIES, FILES, HOSTS, LANGUAGES, USER_LABELS
from services.sandbox.ugly_mail import ugly_message

REACH = 30
"""A reply answers one of so many messages before it."""

_NORMAL = NormalDist()
PARAGRAPH_COUNTS = tuple(max(1, round(exp(1.0 + 0.9 * _NORMAL.inv_cdf((i + 0.5) / 128)))) for i in range(128))
"""Text lengths: median 3 paragraphs, one in a hundred above 20."""
FILE_SIZES = tuple(min(8_000_000, round(exp(11.2 + 1.5 * _NORMAL.inv_cdf((i + 0.5) / 128)))) for i in range(128))
"""Attachment sizes in bytes: median 73 kB, one in a hundred above 2 MB."""

KINDS = (
    ["personal"] * 36
    + ["sent"] * 14
    + ["newsletter"] * 13
    + ["notification"] * 16
    + ["social"] * 5
    + ["forum"] * 9
    + ["spam"] * 4
    + ["invitation", "bounce", "forward"]
)
CONVERSATIONS = frozenset({"personal", "sent", "forum"})
_CATEGORY = {
    "newsletter": "CATEGORY_PROMOTIONS",
    "notification": "CATEGORY_UPDATES",
    "social": "CATEGORY_SOCIAL",
    "forum": "CATEGORY_FORUMS",
    "invitation": "CATEGORY_PERSONAL",
    "bounce": "CATEGORY_UPDATES",
    "forward": "CATEGORY_PERSONAL",
}
_TRIES = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generated message is, before any of its words exist."""

    kind: str
    parent: int | None
    labels: frozenset[str]


class Generator:
    """Mail for one user. `index` counts from 0 for the oldest message."""

    def __init__(self, *, seed: int, email: str, name: str, ugly: bool = False) -> None:
        self._email = email
        self._me = f"{name} <{email}>"
        self._ugly = ugly
        root = f"{seed}:{email}".encode()[:48]
        self._plan_key = b"plan:" + root
        self._text_key = b"text:" + root
        random = Random(f"{seed}:{email}")  # noqa: S311 - reproducible by design
        self._contacts = make_contacts(random)
        self._own = Contact(name, email, LANGUAGES[0], "utf-8", "quoted-printable", quoted=True, program="", zone=60)
        self._writers = random.choices(self._contacts, [1 / (i + 4) for i in range(len(self._contacts))], k=512)
        """Few write often, many seldom."""

    def plan(self, index: int) -> Plan:
        """Kind, parent and labels of a message."""
        draws = Draws(self._plan_key, index)
        kind = draws.choice(KINDS)
        return Plan(kind, self._parent(index, kind, draws), _labels(kind, draws))

    def _parent(self, index: int, kind: str, draws: Draws) -> int | None:
        if kind not in CONVERSATIONS or draws.chance(10):
            return None
        parent = index - 1 - draws.below(REACH)
        if parent < 0:
            return None
        before = Draws(self._plan_key, parent).choice(KINDS)
        same_circle = (before == "forum") == (kind == "forum")
        return parent if before in CONVERSATIONS and same_circle else None

    def chain(self, index: int) -> list[int]:
        """The message and its ancestors, itself first, the thread's first message last."""
        out = [index]
        while True:
            draws = Draws(self._plan_key, out[-1])
            parent = self._parent(out[-1], draws.choice(KINDS), draws)
            if parent is None:
                return out
            out.append(parent)

    def plans(self, start: int, count: int) -> Iterator[Plan]:
        """The plans of `count` messages from `start` on."""
        return (self.plan(index) for index in range(start, start + count))

    def content(self, index: int, *, date_ms: int) -> Content:
        """The message with this number; `date_ms` is when it arrived, epoch ms."""
        draws = Draws(self._text_key, index)
        if self._ugly and index % 6 == 5:
            return KeptContent(ugly_message(index // 6, draws=draws, to=self._email, date_ms=date_ms))
        plan = self.plan(index)
        writer = _Writer(self, index, plan, draws, date_ms)
        return writer.compose()

    def contact(self, root: int) -> Contact:
        """Whom the thread that begins with this message is with."""
        return Draws(self._text_key, root).choice(self._writers)

    def message_id(self, index: int) -> str:
        """The Message-ID, with its brackets."""
        return f"<{Draws(self._text_key, index).token(20)}.{index}@{HOSTS[index % len(HOSTS)]}>"

    def subject(self, root: int) -> str:
        """What the thread is about."""
        draws = Draws(self._text_key, root)
        language = draws.choice(self._writers).language
        return draws.choice(language.subjects).format(n=1000 + draws.below(9000))

    @property
    def email(self) -> str:
        """The address of the mailbox."""
        return self._email

    @property
    def me(self) -> str:
        """The owner as the value of an address header."""
        return self._me

    @property
    def own(self) -> Contact:
        """The owner as somebody who writes."""
        return self._own


def _labels(kind: str, draws: Draws) -> frozenset[str]:
    if kind == "sent":
        return frozenset({"SENT"})
    if kind == "spam":
        return frozenset({"SPAM", "UNREAD"}) if draws.chance(70) else frozenset({"SPAM"})
    unread = {"UNREAD"} if draws.chance(14) else set()
    if draws.chance(3):
        return frozenset({"TRASH"} | unread)
    if kind == "personal" and draws.chance(12):
        return frozenset(unread)
    labels = unread | {_CATEGORY.get(kind, "CATEGORY_PERSONAL")}
    if draws.chance(70):
        labels.add("INBOX")
    if kind in CONVERSATIONS and draws.chance(40):
        labels.add("IMPORTANT")
    if draws.chance(3):
        labels.add("STARRED")
    if draws.chance(18):
        labels.add(f"Label_{1 + draws.below(len(USER_LABELS))}")
    return frozenset(labels)


class _Writer:
    """Composes one message."""

    def __init__(self, mail: Generator, index: int, plan: Plan, draws: Draws, date_ms: int) -> None:
        self._mail = mail
        self._index = index
        self._plan = plan
        self._draws = draws
        self._date_ms = date_ms
        self._chain = mail.chain(index) if plan.parent is not None else [index]
        self._contact = mail.contact(self._chain[-1])
        draws.below(512)
        self._author = mail.own if plan.kind == "sent" else self._contact
        charset = self._contact.charset
        self._charset = "utf-8" if self._author is mail.own else charset
        self._texts = paragraphs(self._contact.language, self._charset)
        self._picked = [draws.choice(self._texts) for _ in range(draws.choice(PARAGRAPH_COUNTS))]

    def compose(self) -> Composed:
        """The message of the planned kind."""
        return Composed(
            headers=self._headers(),
            body=self._body(),
            charset=self._charset,
            quoted=self._author.quoted,
        )

    def _headers(self) -> list[tuple[str, str]]:
        zone = timezone(timedelta(minutes=self._author.zone))
        date = format_datetime(datetime.fromtimestamp(self._date_ms // 1000, zone))
        headers = self._trace(date) if self._plan.kind != "sent" else []
        headers += [
            ("Date", date),
            ("From", self._from()),
            ("To", self._to()),
            ("Message-ID", self._mail.message_id(self._index)),
            ("Subject", self._subject()),
        ]
        if len(self._chain) > 1:
            headers.append(("In-Reply-To", self._mail.message_id(self._chain[1])))
            headers.append(("References", " ".join(self._mail.message_id(i) for i in self._chain[:0:-1][-20:])))
        headers += self._list_headers()
        if self._author.program:
            headers.append(("X-Mailer", self._author.program))
        headers.append(("MIME-Version", "1.0"))
        return headers

    def _trace(self, date: str) -> list[tuple[str, str]]:
        host = self._contact.address.rpartition("@")[2]
        token = self._draws.token(24)
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
        kind = self._plan.kind
        if kind == "sent":
            return self._mail.me
        if kind in ("newsletter", "notification", "social"):
            name, host = COMPANIES[self._index % len(COMPANIES)]
            return f"{name} <no-reply@{host}>"
        if kind == "bounce":
            return "Mail Delivery Subsystem <mailer-daemon@mx.sandbox.example>"
        return f"{self._contact.name} <{self._contact.address}>"

    def _to(self) -> str:
        if self._plan.kind == "sent":
            return f"{self._contact.name} <{self._contact.address}>"
        if self._plan.kind == "forum":
            return "Engineers <engineers@lists.example.org>"
        return self._mail.me

    def _subject(self) -> str:
        subject = self._mail.subject(self._chain[-1])
        if self._plan.kind == "bounce":
            return "Delivery Status Notification (Failure)"
        if self._plan.kind == "forward":
            return f"Fwd: {subject}"
        return self._contact.language.reply + subject if len(self._chain) > 1 else subject

    def _list_headers(self) -> list[tuple[str, str]]:
        if self._plan.kind == "newsletter":
            return [
                ("List-Unsubscribe", f"<https://digest.example/u/{self._draws.token(12)}>"),
                ("Precedence", "bulk"),
            ]
        if self._plan.kind == "forum":
            return [("List-Id", "Engineers <engineers.lists.example.org>"), ("Precedence", "list")]
        return []

    def _body(self) -> Leaf | Branch:
        match self._plan.kind:
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
        return f"=_{level}_{self._draws.token(16)}"

    def _plain(self) -> Leaf:
        content = b"\r\n\r\n".join([paragraph.plain for paragraph in self._picked])
        if len(self._chain) > 1:
            content += b"\r\n\r\n" + self._texts[self._chain[1] % PARAGRAPHS].quote
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
        body: Leaf | Branch = self._plain() if self._draws.chance(40) else self._alternative()
        if self._draws.chance(6):
            image = self._file(3, disposition="inline", content_id=f"image{self._index}@sandbox")
            body = Branch("multipart/related", self._boundary("rel"), [body, image])
        if self._draws.chance(16):
            files: list[Leaf | Branch] = [self._file(n) for n in range(1 + self._draws.below(3))]
            body = Branch("multipart/mixed", self._boundary("mix"), [body, *files])
        return body

    def _newsletter(self) -> Branch:
        rules = b".c%d{margin:0 auto;padding:12px;font:14px/1.5 sans-serif;color:#333}\r\n"
        style = b"".join(rules % i for i in range(10 + self._draws.below(80)))
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
        name, mime_type, magic = FILES[3] if content_id else self._draws.choice(FILES)
        size = len(magic) + self._draws.choice(FILE_SIZES)
        seed = f"{self._draws.token(16)}:{number}"

        def content() -> bytes:
            return magic + Random(seed).randbytes(size - len(magic))  # noqa: S311 - reproducible by design

        return Leaf(mime_type, content, size, "base64", None, name, disposition, content_id)
