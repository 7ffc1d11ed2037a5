"""mailroom webhooks."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.context import chosen, mailbox_of

if TYPE_CHECKING:
    from mailroom_client import Mailroom
    from mailroom_client.models import Delivery, Webhook

webhooks = typer.Typer(help="Webhooks of the application.", no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="The id that list shows.")]
Events = Annotated[
    list[str] | None, typer.Option("--event", metavar="TYPE", help="Only this type of event; may be repeated.")
]
Mailboxes = Annotated[
    list[str] | None,
    typer.Option("--mailbox", "-m", metavar="MAILBOX", help="Only this mailbox, by address or id; may be repeated."),
]
Description = Annotated[str | None, typer.Option(help="What it is for.")]


class Order(StrEnum):
    """Whether the events of a mailbox come one after the other."""

    MAILBOX = "mailbox"
    NONE = "none"


@webhooks.command("list")
def list_webhooks(context: typer.Context) -> None:
    """List the webhooks, without their secrets."""
    options = chosen(context)
    with options.client() as client:
        found = client.webhooks.list()
        rows = [(hook.id, hook.url, _events(hook), _state(hook)) for hook in found]
        options.output.many(found, ("id", "url", "events", "state"), rows, cut=("url", "events", "state"))


@webhooks.command()
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where events are sent; https.")],
    events: Events = None,
    mailboxes: Mailboxes = None,
    description: Description = None,
    backfill: Annotated[bool, typer.Option(help="Send what was stored before, too.")] = False,
    order: Annotated[
        Order, typer.Option(help="none: several events of a mailbox at a time, in any order.")
    ] = Order.MAILBOX,
) -> None:
    """Create a webhook and show its secret, this once. Without --event it is sent all events."""
    options = chosen(context)
    with options.client() as client:
        made = client.webhooks.create(
            url,
            events=events or (),
            mailbox_ids=_ids(client, mailboxes),
            description=description or "",
            backfill=backfill,
            order=order,
        )
        options.output.one(made, {"id": made.id, "secret": made.secret})


@webhooks.command()
def show(context: typer.Context, webhook_id: Id) -> None:
    """Show a webhook, without its secret."""
    options = chosen(context)
    with options.client() as client:
        found = client.webhooks.get(webhook_id)
        options.output.one(found, _lines(found))


@webhooks.command()
def change(
    context: typer.Context,
    webhook_id: Id,
    url: Annotated[str | None, typer.Option(help="Where events are sent.")] = None,
    events: Events = None,
    mailboxes: Mailboxes = None,
    description: Description = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Send all types of events.")] = False,
    all_mailboxes: Annotated[bool, typer.Option("--all-mailboxes", help="Send events of all mailboxes.")] = False,
    order: Annotated[
        Order | None, typer.Option(help="none: several events of a mailbox at a time, in any order.")
    ] = None,
) -> None:
    """Change what is given; the rest stays."""
    options = chosen(context)
    with options.client() as client:
        changed = client.webhooks.update(
            webhook_id,
            url=url,
            events=() if all_events else events or None,
            mailbox_ids=_ids(client, mailboxes),
            all_mailboxes=all_mailboxes,
            description=description,
            order=order,
        )
        options.output.one(changed, _lines(changed))


@webhooks.command()
def test(context: typer.Context, webhook_id: Id) -> None:
    """Have a test sent, also to a webhook that is disabled."""
    options = chosen(context)
    with options.client() as client:
        sent = client.webhooks.test(webhook_id)
        options.output.one(sent, {"delivery": sent.id, "state": sent.state})
        options.output.note(f"what came of it: mailroom webhooks deliveries {webhook_id}")


@webhooks.command()
def rotate(
    context: typer.Context,
    webhook_id: Id,
    overlap: Annotated[int, typer.Option(min=0, help="For so many seconds the old secret signs, too.")] = 86_400,
) -> None:
    """Replace the secret and show the new one, this once."""
    options = chosen(context)
    with options.client() as client:
        made = client.webhooks.rotate(webhook_id, overlap_seconds=overlap)
        options.output.one(made, {"secret": made.secret})


@webhooks.command()
def enable(context: typer.Context, webhook_id: Id) -> None:
    """Enable a webhook that was disabled: it goes on where it stopped."""
    options = chosen(context)
    with options.client() as client:
        found = client.webhooks.enable(webhook_id)
        options.output.one(found, _lines(found))


@webhooks.command()
def disable(context: typer.Context, webhook_id: Id) -> None:
    """Send nothing more until it is enabled."""
    options = chosen(context)
    with options.client() as client:
        found = client.webhooks.update(webhook_id, status="disabled")
        options.output.one(found, _lines(found))


@webhooks.command()
def delete(context: typer.Context, webhook_id: Id) -> None:
    """Delete a webhook with its deliveries."""
    options = chosen(context)
    with options.client() as client:
        client.webhooks.delete(webhook_id)
        options.output.receipt(id=webhook_id)


@webhooks.command()
def deliveries(
    context: typer.Context,
    webhook_id: Id,
    state: Annotated[
        str | None, typer.Option(help="Only those: pending, delivered, failing, parked or abandoned.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many deliveries at most.")] = 20,
) -> None:
    """List what was sent, newest first."""
    options = chosen(context)
    with options.client() as client:
        found = client.webhooks.deliveries(webhook_id, state=state, page_size=min(limit, 200)).first(limit)
        rows = [(item.id, item.created_at, item.event, item.state, item.tries, _answer(item)) for item in found]
        options.output.many(
            found, ("id", "created", "event", "state", "tries", "last answer"), rows, cut=("last answer",)
        )


@webhooks.command()
def retry(
    context: typer.Context,
    webhook_id: Id,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="The id that deliveries shows.")],
) -> None:
    """Have an event sent once more, by itself."""
    options = chosen(context)
    with options.client() as client:
        sent = client.webhooks.retry(webhook_id, delivery_id)
        options.output.one(sent, {"delivery": sent.id, "state": sent.state})


@webhooks.command()
def replay(
    context: typer.Context,
    webhook_id: Id,
    since: Annotated[str, typer.Option(help="A position: what follows in its mailbox; a time: what follows in all.")],
) -> None:
    """Have events sent once more, in order. Times are local unless they name a zone."""
    options = chosen(context)
    with options.client() as client:
        moment = _moment(since)
        client.webhooks.replay(webhook_id, since=moment)
        options.output.receipt(id=webhook_id, since=moment if isinstance(moment, str) else moment.isoformat())


def _ids(client: "Mailroom", names: list[str] | None) -> list[str] | None:
    return [str(mailbox_of(client, name).mailbox_id) for name in names] if names else None


def _moment(since: str) -> str | datetime:
    try:
        return datetime.fromisoformat(since).astimezone(UTC)
    except (ValueError, OverflowError):
        return since


def _events(hook: "Webhook") -> str:
    return " ".join(hook.events) or "all"


def _state(hook: "Webhook") -> str:
    reason = f" ({hook.disabled_reason})" if hook.disabled_reason else ""
    return f"{hook.status}{reason}{', failing' if hook.failing_since else ''}"


def _answer(delivery: "Delivery") -> object:
    last = delivery.attempts[-1] if delivery.attempts else None
    return last and (last.status or last.error)


def _lines(hook: "Webhook") -> dict[str, object]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": _events(hook),
        "mailboxes": "all" if hook.mailbox_ids is None else " ".join(map(str, hook.mailbox_ids)),
        "order": hook.order,
        "description": hook.description or None,
        "state": _state(hook),
        "failing since": hook.failing_since,
        "created": hook.created_at,
    }
