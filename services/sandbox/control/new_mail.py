"""The control API's description of new mail, and the RFC 5322 bytes composed from it."""

import json
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Any, Self

from pydantic import Field, model_validator

from services.sandbox.control.json_body import ControlBody
from services.sandbox.mailboxes.mailbox import MessageDeviation
from services.sandbox.mailboxes.user import User
from services.sandbox.mime.part_tree import HeaderForm


class NewMail(ControlBody):
    """Mail to deliver: `count` generated messages, one composed from fields, or one from `raw` bytes.

    Fields from `omit` on make the message deviate from anything that a real provider shows.
    """

    count: int | None = Field(default=None, ge=1, le=100_000)
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    cc: str | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    date: str | None = Field(default=None, description='the Date header, verbatim; "" = none')
    headers: list[list[str]] = Field(default_factory=list, description="pairs of name and value")
    raw: str | None = Field(default=None, min_length=1, description="RFC 5322 bytes in base64url")
    labels: list[str] = Field(default_factory=lambda: ["INBOX", "UNREAD"])
    thread_id: str | None = None
    internal_date: int | None = Field(default=None, description="epoch ms; default now")
    id: str | None = Field(default=None, min_length=1)
    omit: list[str] = Field(default_factory=list, description="keys of the message resource that are left out")
    extra: dict[str, Any] = Field(default_factory=dict, description="keys that are added or replaced")
    encoded_headers: bool = Field(default=False, description="RFC 2047 words stay encoded")
    mangled_headers: bool = Field(default=False, description="raw 8-bit bytes in headers become U+FFFD")

    @model_validator(mode="after")
    def _one_kind(self) -> "NewMail":
        fields = self.model_fields_set - {"labels"}
        if self.count is not None and fields != {"count"}:
            raise ValueError("count goes alone")
        if self.raw is not None and fields & {"from_", "to", "cc", "subject", "text", "html", "date", "headers"}:
            raise ValueError("raw holds the whole message; the other fields do not go with it")
        if self.encoded_headers and self.mangled_headers:
            raise ValueError("headers are either encoded or mangled")
        if not all(len(pair) == 2 for pair in self.headers):
            raise ValueError("headers: pairs of name and value")
        return self

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate as any body, but accept lone surrogates, which pydantic's own JSON parser refuses."""
        try:
            value = json.loads(json_data)
        except ValueError:
            return super().model_validate_json(json_data, **options)
        return cls.model_validate(value)

    @property
    def deviation(self) -> MessageDeviation | None:
        """How the message deviates, or None."""
        form: HeaderForm = "encoded" if self.encoded_headers else "mangled" if self.mangled_headers else "decoded"
        if not (self.omit or self.extra or form != "decoded"):
            return None
        return MessageDeviation(frozenset(self.omit), self.extra, form)


def compose_mail(mail: NewMail, *, owner: User, now: float) -> bytes:
    """Compose RFC 5322 bytes. An absent field leaves its header out, except To, Date and Message-ID."""
    message = EmailMessage(policy=SMTP)
    date = format_datetime(datetime.fromtimestamp(now, UTC)) if mail.date is None else mail.date
    given = {name.lower() for name, _ in mail.headers}
    defaults = (
        ("Date", date),
        ("From", mail.from_),
        ("To", owner.email if mail.to is None else mail.to),
        ("Cc", mail.cc),
        ("Subject", mail.subject),
        ("Message-ID", make_msgid(domain="sandbox.example")),
    )
    if mail.text is not None or mail.html is None:
        message.set_content(mail.text or "")
    if mail.html is not None:
        if mail.text is None:
            message.set_content(mail.html, subtype="html")
        else:
            message.add_alternative(mail.html, subtype="html")
    kept = [_header_line(name, value) for name, value in defaults if value and name.lower() not in given]
    return b"".join([*kept, *(_header_line(name, value) for name, value in mail.headers), message.as_bytes()])


def _header_line(name: str, value: str) -> bytes:
    """Write one header, non-ASCII text as RFC 2047 words. Controls and oversized values pass unchanged."""
    clean = value.replace("\r", " ").replace("\n", " ")
    if clean.isascii():
        return f"{name}: {clean}\r\n".encode()
    name_part, bracket, address = clean.rpartition(" <")
    if bracket and name.lower() in ("from", "to", "cc", "reply-to") and "," not in clean:
        return f"{name}: {Header(name_part, 'utf-8').encode(linesep='\r\n')} <{address}\r\n".encode()
    return f"{name}: {Header(clean, 'utf-8').encode(linesep='\r\n')}\r\n".encode()
