"""mailroom audit."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mailroom_cli.context import chosen


def audit(
    context: typer.Context,
    type_: Annotated[str | None, typer.Option("--type", help="Only events of this type, such as key_created.")] = None,
    user: Annotated[str | None, typer.Option(help="Only events of the user with this id.")] = None,
    key: Annotated[str | None, typer.Option(help="Only events of the API key with this id.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only events from this time (UTC) on.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many events at most.")] = 50,
) -> None:
    """List what happened to users and API keys of the application, newest first."""
    options = chosen(context)
    with options.client() as client:
        found = client.audit.list(
            type=type_,
            user_id=user,
            key_id=key,
            since=None if since is None else since.replace(tzinfo=UTC),
            page_size=min(limit, 200),
        ).first(limit)
        rows = [
            (event.created_at, event.type, event.email or event.user_id or event.key_id, event.client_network,
             event.client)
            for event in found
        ]  # fmt: skip
        options.output.many(found, ("when", "event", "of", "from", "client"), rows, cut=("client",))
