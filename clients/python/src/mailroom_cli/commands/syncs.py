"""mailroom sync."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli import exit_codes
from mailroom_cli.context import chosen, mailbox_of
from mailroom_cli.failures import CommandError
from mailroom_cli.output import shown
from mailroom_cli.shared import MailboxOption

if TYPE_CHECKING:
    from mailroom_client import Mailroom
    from mailroom_client.models import Sync

# Seconds between two looks at a sync that is shown.
_LOOK = 1


def sync(
    context: typer.Context,
    mailbox: MailboxOption = None,
    count: Annotated[str, typer.Option(help="The newest so many messages, or all.")] = "100",
    watch: Annotated[bool, typer.Option(help="Show the progress until the end.")] = False,
) -> None:
    """Copy the newest messages of a mailbox. From then on it is kept current."""
    options = chosen(context)
    if count != "all" and not (count.isascii() and count.isdigit()):
        raise typer.BadParameter("is a number or all", param_hint="--count")
    with options.client() as client:
        box = mailbox_of(client, mailbox)
        found = client.syncs.start(box.mailbox_id, count=count if count == "all" else int(count))
        if watch:
            found = _watched(client, found)
        options.output.one(found, _lines(found))
        if found.state == "failed":
            raise CommandError(f"the sync failed: {found.error}", code=exit_codes.FAILED)


def _watched(client: "Mailroom", sync: "Sync") -> "Sync":
    """Show the progress on stderr until the sync ends."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        while True:
            total = sync.stored + sync.pending + sync.dead_letter_count
            progress.update(task, description=_words(sync), completed=sync.stored, total=total or None)
            if sync.has_ended:
                return sync
            sync = client.syncs.get(sync.id, wait=_LOOK)


def _words(sync: "Sync") -> str:
    if sync.waiting_for is not None:
        return f"waits for {sync.waiting_for} until {shown(sync.waiting_until)}"
    return sync.state


def _lines(sync: "Sync") -> dict[str, object]:
    return {
        "sync": sync.id,
        "mailbox": sync.email,
        "state": _words(sync),
        "stored": sync.stored,
        "pending": sync.pending,
        "unfetchable": sync.dead_letter_count or None,
        "last error": sync.last_error,
    }
