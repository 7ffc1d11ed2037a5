"""mailroom changes."""

from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.context import chosen, mailbox_of
from mailroom_cli.output import Output
from mailroom_cli.shared import MailboxOption

if TYPE_CHECKING:
    from mailroom_client.models import Change, ChangePage


def changes(
    context: typer.Context,
    mailbox: MailboxOption = None,
    since: Annotated[str | None, typer.Option(help="A position. Default: now.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C; restarts of the server are bridged.")] = False,
) -> None:
    """Show what changed in a mailbox. Each page ends with the position to go on from."""
    options = chosen(context)
    with options.client() as client:
        box = mailbox_of(client, mailbox)
        if follow:
            pages = client.changes.follow(
                box.mailbox_id, since, on_trouble=lambda error: options.output.note(f"again soon: {error}")
            )
            for page in pages:
                _show(options.output, page)
            return
        while True:
            page = client.changes.after(box.mailbox_id, since)
            _show(options.output, page)
            since = page.next_since
            if not page.has_more:
                return


def _show(output: Output, page: "ChangePage") -> None:
    if output.as_json:
        output.line(page)
        return
    for change in page.changes:
        output.text(f"{change.type:<14}{_what(change)}")
    output.text(f"position      {page.next_since}")


def _what(change: "Change") -> str:
    if change.email is not None:
        return f"{change.id}  {change.email.subject or '(no subject)'}"
    return f"{change.id}  {change.label.name}" if change.label is not None else change.id
