"""mailroom search, get and export."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.context import chosen, mailbox_of
from mailroom_cli.output import Output, shown
from mailroom_cli.shared import MailboxOption

if TYPE_CHECKING:
    from mailroom_client.models import Email, EmailAddress


class Part(StrEnum):
    """What of a message is shown."""

    TEXT = "text"
    HEADERS = "headers"
    HTML = "html"
    RAW = "raw"


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="As in a search box: from:grace is:unread newer_than:7d")] = "",
    mailbox: MailboxOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many messages at most.")] = 20,
) -> None:
    """List the messages that a query finds, newest first."""
    options = chosen(context)
    with options.client() as client:
        box = mailbox_of(client, mailbox)
        found = client.emails.list(box.mailbox_id, query or None, page_size=min(limit, 200)).first(limit)
        rows = [
            (email.received_at, _short(email.sender), email.subject, "read" if email.is_read else "unread", email.id)
            for email in found
        ]
        options.output.many(found, ("received", "from", "subject", "state", "id"), rows, cut=("from", "subject"))


def get(
    context: typer.Context,
    email_id: Annotated[str, typer.Argument(metavar="ID", help="The id that search shows.")],
    part: Annotated[Part, typer.Option(help="What to show; raw is the message as the provider has it.")] = Part.TEXT,
) -> None:
    """Show a message."""
    options = chosen(context)
    with options.client() as client:
        if part is Part.RAW:
            with client.emails.raw(email_id) as chunks:
                for chunk in chunks:
                    sys.stdout.buffer.write(chunk)
            return
        email = client.emails.get(email_id)
        if options.output.as_json:
            options.output.document(email)
        else:
            _show(options.output, email, part)


def export(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Only what this query finds.")] = "",
    mailbox: MailboxOption = None,
) -> None:
    """Write whole messages as JSON lines, newest first."""
    options = chosen(context)
    with options.client() as client:
        for email in client.emails.export(mailbox_of(client, mailbox).mailbox_id, query or None):
            options.output.line(email)


def _show(output: Output, email: "Email", part: Part) -> None:
    if part is Part.HEADERS:
        for header in email.headers:
            output.text(f"{header.name}: {header.value}")
        return
    if part is Part.HTML:
        output.text(email.html or "")
        return
    names = {
        "from": _who(email.sender),
        "to": ", ".join(map(_who, email.to)),
        "cc": ", ".join(map(_who, email.cc)) or None,
        "subject": email.subject,
        "received": email.received_at,
        "labels": ", ".join(email.labels),
        "attachments": ", ".join(f"{file.filename} ({file.size} bytes)" for file in email.attachments) or None,
    }
    for name, value in names.items():
        if value is not None:
            output.text(f"{name + ':':<13}{shown(value)}")
    output.text(f"\n{email.text or ''}")


def _short(address: "EmailAddress | None") -> str:
    return "" if address is None else address.name or address.email


def _who(address: "EmailAddress | None") -> str:
    if address is None:
        return ""
    return f"{address.name} <{address.email}>" if address.name else address.email
