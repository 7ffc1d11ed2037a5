"""The comparison with Python's `email` package fails for a single wrong letter."""

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from services.mail.content import parse_raw
from tests.support.mail.body_differences import classify_body
from tests.support.mail.comparison import DOCUMENTED

RUSSIAN = "Добрый день! Высылаю счёт за июль, прошу оплатить до пятницы."
CHINESE = "您好，附件是七月份的发票，请在星期五之前付款。您好，附件是七月份的发票。"
FRENCH = "Voilà la facture d’été, déjà payée à Noël."
TURKISH = "Değerli müşterimiz, şifreniz değiştirildi"
LABELLED = [
    (RUSSIAN, "cp1251", "us-ascii"),
    (CHINESE, "gb18030", "us-ascii"),
    (CHINESE, "gb18030", "gb2312"),
    (FRENCH, "cp1252", "us-ascii"),
    (FRENCH, "cp1252", "iso-8859-1"),
    (TURKISH, "cp1254", "us-ascii"),
    (RUSSIAN, "utf-8", "koi8-r"),
]


def classify(text: str, encoding: str, label: str, ours: str) -> str:
    """The class of the difference between what `email` makes of such a body and `ours`."""
    data = f"Content-Type: text/plain; charset={label}\n\n".encode() + text.encode(encoding)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return classify_body(message, message.get_content(), ours, message)


def mistakes(text: str, encoding: str) -> Iterator[str]:
    """The text with wrong letters: one of them, a missing one, those of another charset."""
    place = next(index for index, letter in enumerate(text) if not letter.isascii())
    yield text[:place] + "ъ" + text[place + 1 :]
    yield text[:place] + text[place + 1 :]
    for other in {"cp1251", "koi8-r", "cp1252", "cp1253", "big5", "mac-roman"} - {encoding}:
        wrong = text.encode(encoding).decode(other, "replace")
        if wrong != text:
            yield wrong


@pytest.mark.parametrize(("text", "encoding", "label"), LABELLED)
def test_the_right_text_has_a_documented_class(text: str, encoding: str, label: str) -> None:
    assert classify(text, encoding, label, text) in DOCUMENTED
    data = f"Content-Type: text/plain; charset={label}\n\n".encode() + text.encode(encoding)
    assert parse_raw(data).text == text


@pytest.mark.parametrize(("text", "encoding", "label"), LABELLED)
def test_wrong_letters_have_none(text: str, encoding: str, label: str) -> None:
    theirs = text.encode(encoding).decode(label, "replace")
    wrong = [each for each in mistakes(text, encoding) if each != theirs]
    assert [each for each in wrong if classify(text, encoding, label, each) in DOCUMENTED] == []
    assert len(wrong) > 5


@pytest.mark.parametrize(
    ("headers", "body", "ours"),
    [
        ("Content-Type: text/plain; format=flowed", "one \ntwo\n", "one twa\n"),
        ("Content-Transfer-Encoding: quoted-printable", "one= \ntwo \n", "one two\n"),
        ("Content-Type: text/plain", "a\nbegin 644 x\n#86)C\n`\nend\nb\n", "a\n"),
        ("Content-Type: text/plain", "a", "a\nwhat is not there\n".removeprefix("a")),
    ],
)
def test_other_wrong_texts_have_none_either(headers: str, body: str, ours: str) -> None:
    message = email.message_from_string(f"{headers}\n\n{body}", policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert classify_body(message, message.get_content(), ours, message) == "unknown"
