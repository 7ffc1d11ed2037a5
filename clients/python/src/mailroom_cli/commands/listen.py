"""mailroom listen."""

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from mailroom_cli.context import Chosen, chosen, mailbox_of, no_mailbox
from mailroom_cli.failures import CommandError
from mailroom_cli.output import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from mailroom_client import Mailroom, MailroomError
    from mailroom_client.models import Delivery

# Each waits for changes at the server, which lets a caller have 16 such requests open.
_MOST_MAILBOXES = 10


def listen(
    context: typer.Context,
    forward_to: Annotated[str, typer.Option(metavar="URL", help="Your receiver: http://localhost:3000/mailroom")],
    mailbox: Annotated[
        str | None,
        typer.Option("--mailbox", "-m", help="Address or id of a mailbox. Default: all.", envvar="MAILROOM_MAILBOX"),
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Only this type of event; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="POSITION", help="A position in the feed of the mailbox. Default: now.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="MAILROOM_WEBHOOK_SECRET", help="whsec_..., which signs. Default: a new one.")
    ] = None,
) -> None:
    """Send changed messages and labels to a URL of this machine, signed as webhooks are, until Ctrl-C."""
    import asyncio

    from mailroom_client.signatures import new_secret

    options = chosen(context)
    secret = secret or new_secret()
    _check(forward_to, event or (), secret)
    with options.client() as client:
        boxes = _mailboxes(client, mailbox, needs_one=since is not None)
        asyncio.run(_forward(options, boxes, to=forward_to, since=since, events=event or (), secret=secret))


def _check(url: str, events: "Sequence[str]", secret: str) -> None:
    from mailroom_client.signatures import signed_headers

    from mailroom_cli.forwarding import EVENTS

    if not _is_url(url):
        raise typer.BadParameter("is a URL: http://localhost:3000/mailroom", param_hint="--forward-to")
    if unknown := set(events) - {*EVENTS}:
        raise typer.BadParameter(f"{min(unknown)} is none of {', '.join(EVENTS)}", param_hint="--event")
    try:
        signed_headers("", b"", at=0, secret=secret)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from error


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _mailboxes(client: "Mailroom", name: str | None, *, needs_one: bool) -> "dict[UUID, str]":
    """Return the addresses of the mailboxes by id. Raises CommandError."""
    if name is not None or needs_one:
        box = mailbox_of(client, name)
        return {box.mailbox_id: box.email}
    found = client.mailboxes.list().first(_MOST_MAILBOXES + 1)
    if not found:
        raise no_mailbox()
    if len(found) > _MOST_MAILBOXES:
        raise CommandError(f"there are more than {_MOST_MAILBOXES} mailboxes: choose one with --mailbox", code=2)
    return {box.mailbox_id: box.email for box in found}


async def _forward(
    options: Chosen,
    boxes: "dict[UUID, str]",
    *,
    to: str,
    since: str | None,
    events: "Sequence[str]",
    secret: str,
) -> None:
    """Deliver what happens in the mailboxes, until a failure or Ctrl-C."""
    import asyncio

    import httpx

    from mailroom_cli.forwarding import Forwarder, forward

    def told(delivery: "Delivery") -> None:
        if options.output.as_json:
            options.output.line(delivery)
        else:
            options.output.text(_line(delivery, boxes))

    def trouble(error: "MailroomError") -> None:
        options.output.note(f"again soon: {error}")

    # Addresses of this machine are no business of a proxy.
    async with options.async_client() as client, httpx.AsyncClient(trust_env=False) as http:
        forwarder = Forwarder(http, to, secret, told)
        # Whatever happens once the notes are read is sent.
        positions = [since or await client.changes.position(mailbox_id) for mailbox_id in boxes]
        options.output.note(f"sends to {to} what changes in {', '.join(boxes.values())}")
        options.output.note(f"verify with the secret {secret}")
        running = (
            forward(client, mailbox_id, forwarder, since=position, events=events, on_trouble=trouble)
            for mailbox_id, position in zip(boxes, positions, strict=True)
        )
        await asyncio.gather(*running)


def _line(delivery: "Delivery", boxes: "dict[UUID, str]") -> str:
    last = delivery.attempts[-1]
    address = boxes[delivery.mailbox_id] if delivery.mailbox_id is not None else None
    answer = f"{last.status or last.error} in {last.duration_ms} ms"
    return f"{last.at.astimezone():%H:%M:%S}  {delivery.event:<15}  {shown(address)}  {delivery.state}: {answer}"
