"""The meaning of a query, as plainly as possible and without regard to speed."""

from collections.abc import Iterable, Sequence

from services.mail.content.model import Address, Attachment
from services.mail.model import Label, ProviderMessage
from services.mail.search.syntax import (
    And,
    HasAddress,
    HasAttachment,
    HasLabel,
    HasMark,
    HasRole,
    InCategory,
    InDomain,
    InThread,
    MessageId,
    Node,
    Not,
    Or,
    Received,
    Size,
    Text,
)
from services.mail.search.terms import Term, terms_of
from services.mail.search.vector import Field


def matches(  # noqa: C901 - one line per kind of condition
    node: Node, message: ProviderMessage, labels: Sequence[Label]
) -> bool:
    """Whether the message is found."""
    match node:
        case Not(inner):
            return not matches(inner, message, labels)
        case And(nodes):
            return all(matches(inner, message, labels) for inner in nodes)
        case Or(nodes):
            return any(matches(inner, message, labels) for inner in nodes)
        case Text(field, terms):
            return any(_contains(terms_of(text), terms) for text in _texts(message, field))
        case HasAddress(field, address, tagged):
            return any(_is_address(email, address, tagged=tagged) for email in _emails(message, field))
        case InDomain(field, domain):
            return any(email.lower().endswith(f"@{domain.lower()}") for email in _emails(message, field))
        case MessageId(value):
            return message.content.message_id == value.strip("<>")
        case HasLabel(label):
            return _is_labelled(label, message, labels)
        case HasRole(role, names):
            of_role = [label.label_id for label in labels if label.role is role]
            return any(_is_labelled(each, message, labels) for each in of_role or names)
        case HasMark(mark):
            return mark in message.marks
        case InCategory(name):
            return f"CATEGORY_{name.upper()}" in message.label_ids
        case HasAttachment():
            return message.content.has_attachments
        case InThread(thread_id):
            return message.thread_id == thread_id
        case Received(since, until):
            return (since is None or message.received_at >= since) and (until is None or message.received_at < until)
        case Size(above, below):
            return (above is None or message.size > above) and (below is None or message.size < below)


def _contains(text: list[str], phrase: tuple[Term, ...]) -> bool:
    return any(
        all(start + term.offset < len(text) and _is(text[start + term.offset], term) for term in phrase)
        for start in range(len(text))
    )


def _is(word: str, term: Term) -> bool:
    return word.startswith(term.value) if term.prefix else word == term.value


def _texts(message: ProviderMessage, field: Field | None) -> list[str]:
    content = message.content
    texts = {
        Field.SUBJECT: [content.subject or ""],
        Field.FROM: _people(content.authors),
        Field.TO: _people(content.to),
        Field.CC: _people(content.cc),
        Field.BCC: _people(content.bcc),
        Field.FILENAME: _file_names(content.attachments),
    }
    if field:
        return texts[field]
    named = [text for listed in texts.values() for text in listed]
    return [*named, content.text or "", *_attached_texts(content.attachments)]


def _file_names(attachments: Iterable[Attachment]) -> list[str]:
    return [name for each in attachments for name in (each.filename, *_file_names(_attached(each)))]


def _attached_texts(attachments: Iterable[Attachment]) -> list[str]:
    found: list[str] = []
    for attached in (each.message for each in attachments if each.message):
        people = (*([attached.from_] if attached.from_ else []), *attached.to, *attached.cc)
        found += [attached.subject or "", attached.text or "", *_people(people), *_attached_texts(attached.attachments)]
    return found


def _attached(attachment: Attachment) -> tuple[Attachment, ...]:
    return attachment.message.attachments if attachment.message else ()


def _emails(message: ProviderMessage, field: Field) -> list[str]:
    content = message.content
    people = {Field.FROM: content.authors, Field.TO: content.to, Field.CC: content.cc, Field.BCC: content.bcc}
    return [address.email for address in people[field]]


def _is_address(email: str, address: str, *, tagged: bool) -> bool:
    local, _, domain = email.lower().rpartition("@")
    wanted, _, wanted_domain = address.lower().rpartition("@")
    return domain == wanted_domain and (local == wanted or (tagged and local.startswith(f"{wanted}+")))


def _people(addresses: tuple[Address, ...]) -> list[str]:
    return [f"{address.name} {address.email}" for address in addresses]


def _is_labelled(label: str, message: ProviderMessage, labels: Sequence[Label]) -> bool:
    names = {each.label_id: each.name for each in labels}
    return any(label == id_ or _like(label, names.get(id_, "")) for id_ in message.label_ids)


def _like(label: str, name: str) -> bool:
    def plain(text: str) -> str:
        return text.casefold().replace(" ", "-").replace("/", "-")

    return plain(label) == plain(name)
