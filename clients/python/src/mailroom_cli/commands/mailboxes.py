"""mailroom mailboxes."""

import typer

from mailroom_cli.context import chosen


def mailboxes(context: typer.Context) -> None:
    """List the connected mailboxes."""
    options = chosen(context)
    with options.client() as client:
        found = list(client.mailboxes.list())
        rows = [
            (box.email, box.provider, _state(box.status, box.access_denied_reason), box.message_count, box.unread_count,
             box.last_synced_at)
            for box in found
        ]  # fmt: skip
        options.output.many(found, ("mailbox", "provider", "state", "messages", "unread", "last synced"), rows)


def _state(status: str, reason: str | None) -> str:
    return status if reason is None else f"{status} ({reason})"
