"""Mail and queries from one small vocabulary, so that they meet."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.mail.content.model import Address, AttachedMessage, Attachment, ParsedMessage
from services.mail.marks import Mark
from services.mail.model import Label, ProviderMessage, Role

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ME = "ada@example.com"
OWN_ADDRESSES = (ME, "Pat@A-B.example")
LABELS = [
    Label(label_id="INBOX", name="INBOX", type="system", role=Role.INBOX),
    Label(label_id="SPAM", name="SPAM", type="system", role=Role.SPAM),
    # A second one with this role, and a name that is a role of no label.
    Label(label_id="JUNK", name="Junk", type="system", role=Role.SPAM),
    Label(label_id="Label_3", name="Archive", type="user"),
    Label(label_id="Label_1", name="Work/Big projects", type="user"),
    Label(label_id="Label_2", name="Счета", type="user"),
]
WORDS = [
    *(
        "invoice",
        "Invoices",
        "meeting",
        "the",
        "The",
        "s",
        "i",
        "to",
        "re",
        "2024",
        "10:30",
        "e-mail",
        "it's",
        "foo_bar",
    ),
    *(
        "C++",
        "naïve",
        "naive",
        "cafe\u0301",
        "café",
        "ﬁne",
        "Straße",
        "strasse",
        "in\u00advoice",
        "Łódź",
        "lodz",
        "smørrebrød",
        "of",
        "the to",
        "a" * 70,
        "🎉",
        "👍🏽",
        "x/y",
        "'",
        "!!!",
        "\\",
        "7:b",
    ),
    *(
        "привет",
        "Привет",
        "ёлка",
        "елка",
        "мой",
        "мои",
        "мир",
        "東京",
        "東京タワー",
        "京",
        "会議",
        "東京都庁",
        "タワー",
    ),
    *("회의", "ภาษาไทย", "हिन्दी", "ada", "ada@example.com", "grace@example.org", "example.com", "or", "OR", "AND"),
]
PEOPLE = [
    *(Address("Ada Lovelace", ME), Address("", "grace@example.org"), Address("Грейс Хоппер", "Grace@Example.org")),
    *(
        Address("東京支店", "tokyo@example.jp"),
        Address("undisclosed", ""),
        Address('o\'neil, "Pat"', "pat+x@a-b.example"),
    ),
    # Neither is the other, nor the user, whatever their words are.
    *(
        Address("", "ada@example.com.evil.test"),
        Address("", "jo.ada@example.com"),
        Address("Ada", "ADA+Shop@Example.COM"),
    ),
    *(
        Address("", "o'neil\\x@example.com"),
        Address("", "łódź@smørrebrød.example"),
        Address("Æble", "x+ada@example.com"),
    ),
]
_FILES = ["invoice.pdf", "会議.docx", "photo 1.JPG", "", "report-2024.tar.gz"]
_EMPTY = ParsedMessage(
    headers=(), from_=None, authors=(), to=(), cc=(), bcc=(), reply_to=(), subject=None, sent_at=None, message_id=None,
    in_reply_to=None, references=(), text=None, html=None, text_from_html=False, attachments=(), calendar=(),
    encrypted=False, truncated=False, defects=(), missing_parts=(),
)  # fmt: skip


def some_message(number: int, seed: random.Random) -> ProviderMessage:
    """A message of a few words."""
    authors = _some(PEOPLE, 1, seed)
    content = replace(
        _EMPTY,
        authors=authors,
        from_=authors[0] if authors else None,
        to=_some(PEOPLE, 3, seed),
        cc=_some(PEOPLE, 2, seed),
        bcc=_some(PEOPLE, 1, seed),
        subject=seed.choice([None, "", _words(5, seed), _words(5, seed)]),
        text=seed.choice([None, _words(40, seed), _words(15, seed)]),
        message_id=seed.choice([None, f"{number % 20}:'x\\@example.com"]),
        attachments=tuple(
            Attachment(
                str(at), seed.choice(_FILES), "a/b", 1, seed.random() < 0.5, None, message=_attached(seed, levels=2)
            )
            for at in range(seed.choice([0, 0, 0, 1, 2]))
        ),
    )
    return ProviderMessage(
        external_id=f"m{number}",
        thread_id=f"t{seed.randrange(30)}",
        version=1,
        # Some at the very same time.
        received_at=NOW - timedelta(hours=seed.randrange(24 * 60)),
        label_ids=_some([label.label_id for label in LABELS] + ["Unknown_9"], 4, seed),
        marks=frozenset(_some(list(Mark), 4, seed)),
        snippet="",
        size=seed.choice([0, 1024, 1025, 2_000_000, 5 << 20]),
        content=content,
    )


def _attached(seed: random.Random, *, levels: int) -> AttachedMessage | None:
    if levels == 0 or seed.random() < 0.7:
        return None
    inner = Attachment("0.0", seed.choice(_FILES), "a/b", 1, False, None, message=_attached(seed, levels=levels - 1))
    return AttachedMessage(
        subject=seed.choice([None, _words(3, seed)]),
        from_=seed.choice([None, *PEOPLE]),
        to=_some(PEOPLE, 2, seed),
        cc=_some(PEOPLE, 1, seed),
        sent_at=None,
        text=seed.choice([None, _words(10, seed)]),
        attachments=(inner,),
    )


def _some[T](choices: list[T], most: int, seed: random.Random) -> tuple[T, ...]:
    return tuple(seed.sample(choices, seed.randint(0, most)))


def _words(most: int, seed: random.Random) -> str:
    return "".join(seed.choice(WORDS) + seed.choice([" ", " ", ", ", "\n", ""]) for _ in range(seed.randint(0, most)))


_WORD = st.sampled_from([word for word in WORDS if word not in ("'", "\\")])
_PHRASE = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda words: f'"{" ".join(words)}"')
_TEXT = st.one_of(_WORD.filter(lambda word: word not in ("OR", "AND")), _PHRASE, _WORD.map(lambda word: word[:2] + "*"))
_PEOPLE = st.builds(
    "{}:{}".format,
    st.sampled_from(["from", "to", "cc", "bcc"]),
    st.one_of(
        st.sampled_from(
            ["me", "ada@example.com", "ADA@example.com.evil.test", "<pat+x@a-b.example>", "pat@a-b.example"]
        ),
        st.sampled_from(
            ["@example.com", "@Example.org", "@com", "ada@example", "o'neil\\x@example.com", "@a-b.example"]
        ),
        st.sampled_from(
            ["łódź@smørrebrød.example", "lodz@smorrebrod.example", "ada+shop@example.com", "(me OR @example.jp)"]
        ),
    ),
)
_FIELD = st.builds(
    "{}:{}".format,
    st.sampled_from(["from", "to", "cc", "bcc", "subject", "filename", "SUBJECT"]),
    st.one_of(_TEXT, st.just("me"), st.lists(_TEXT, max_size=3).map(lambda items: f"({' OR '.join(items)})")),
)
_FACT = st.sampled_from(
    [
        *(
            "is:unread",
            "is:read",
            "is:starred",
            "is:important",
            "in:inbox",
            "in:spam",
            "in:archive",
            "in:trash",
            "in:anywhere",
            "label:work-big-projects",
        ),
        *(
            'label:"Work/Big projects"',
            "label:Счета",
            "label:label_2",
            "label:Label_2",
            "label:nothing",
            "label:unknown_9",
        ),
        *(
            "has:attachment",
            "larger:1k",
            "smaller:1025",
            "larger:1M",
            "smaller:0",
            "larger:999999999999G",
            "after:2026-02-01",
            "before:2026/2/1",
        ),
        *("newer_than:10d", "older_than:1m", "newer_than:36h", "after:1767225600", "rfc822msgid:<3:'x\\@example.com>"),
        *("rfc822msgid:4:'x\\@example.com", "category:social", "older_than:900000y"),
    ]
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map(" ".join),
        several.map(lambda items: f"({' OR '.join(items)})"),
        several.map(lambda items: f"({' AND '.join(items)})"),
        several.map(lambda items: "{" + " ".join(items) + "}"),
        inner.map(lambda item: f"-({item})"),
    )


_CONDITION = st.one_of(_TEXT, _FIELD, _PEOPLE, _FACT, _TEXT.map("-{}".format))
# Conditions side by side, as people write them, and any others: few of these have a word that all messages found have.
QUERIES = st.one_of(
    st.tuples(st.one_of(_TEXT, _FIELD, _PEOPLE), _FACT | _TEXT.map("-{}".format)).map(" ".join),
    st.lists(_CONDITION, min_size=2, max_size=3).map(" ".join),
    st.recursive(_CONDITION, _combined, max_leaves=8),
)
