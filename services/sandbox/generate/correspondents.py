"""Correspondents of generated mail, and the paragraphs that they write."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

from services.sandbox.generate.phrases import HOSTS, LANGUAGES, WEIGHTS, Language
from services.sandbox.generate.seeded_random import SeededRandom

PARAGRAPHS = 64
ZONES = (0, 0, 60, 120, 180, -300, -480, 330, 540, 480)


@dataclass(frozen=True, slots=True)
class Contact:
    """A correspondent: name, address and the habits of the mail program."""

    name: str
    address: str
    language: Language
    charset: str
    encoding: str
    quoted: bool
    program: str
    zone: int
    """Minutes east of Greenwich."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph in one charset, in both body forms and as a quotation."""

    plain: bytes
    html: bytes
    quote: bytes


@lru_cache(maxsize=512)
def paragraphs(language: Language, charset: str) -> tuple[Paragraph, ...]:
    """Return the paragraphs that messages in this language and charset consist of."""
    random = Random(language.code)  # noqa: S311 - the same words in every run
    out = []
    for _ in range(PARAGRAPHS):
        text = " ".join(random.choices(language.sentences, k=random.randint(1, 6)))
        markup = text.replace("&", "&amp;").replace("<", "&lt;")
        plain = "\r\n".join(_wrap(text))
        quote = "\r\n".join(f"> {line}" for line in _wrap(text))
        out.append(
            Paragraph(plain.encode(charset), f"<p>{markup}</p>\r\n".encode(charset), quote.encode(charset) + b"\r\n")
        )
    return tuple(out)


def _wrap(text: str) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > 72:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def make_contacts(random: Random, count: int = 120) -> tuple[Contact, ...]:
    """Make contacts whose languages follow the weights, with transfer encodings that fit their charsets."""
    weights = [WEIGHTS.get(language.code, 2) for language in LANGUAGES]
    out = []
    for i in range(count):
        language = random.choices(LANGUAGES, weights)[0]
        charset = random.choice(language.charsets)
        seven_bit = charset in ("us-ascii", "iso-2022-jp")
        encodings = ["7bit"] if seven_bit else ["quoted-printable", "base64", "8bit", "quoted-printable"]
        out.append(
            Contact(
                name=random.choice(language.names),
                address=f"{language.code}.{i}@{random.choice(HOSTS)}",
                language=language,
                charset=charset,
                encoding=random.choice(encodings),
                quoted=random.random() < 0.4,
                zone=random.choice(ZONES),
                program=random.choice(
                    ["Apple Mail (2.3774)", "Mozilla Thunderbird", "Microsoft Outlook 16.0", "Mutt/2.2"]
                ),
            )
        )
    return tuple(out)


class Correspondence:
    """The contacts of one user and the subjects of their threads. `key` keys the hashes."""

    def __init__(self, key: bytes, random: Random, *, email: str, name: str) -> None:
        self.key = key
        self.email = email
        self.own = Contact(name, email, LANGUAGES[0], "utf-8", "quoted-printable", quoted=True, program="", zone=60)
        """The user as an author."""
        self.me = f"{name} <{email}>"
        """The user as the value of an address header."""
        contacts = make_contacts(random)
        self._writers = random.choices(contacts, [1 / (i + 4) for i in range(len(contacts))], k=512)
        """Weighted: a few contacts write often, most write seldom."""

    def contact(self, root: int) -> Contact:
        """Return the other party of the thread that begins with this message."""
        return SeededRandom(self.key, root).choice(self._writers)

    def message_id(self, index: int) -> str:
        """Return the Message-ID with its brackets."""
        return f"<{SeededRandom(self.key, index).token(20)}.{index}@{HOSTS[index % len(HOSTS)]}>"

    def subject(self, root: int) -> str:
        """Return the subject of the thread that begins with this message."""
        random = SeededRandom(self.key, root)
        language = random.choice(self._writers).language
        return random.choice(language.subjects).format(n=1000 + random.below(9000))
