"""mailroom keys."""

from typing import Annotated

import typer

from mailroom_cli.context import chosen

keys = typer.Typer(help="API keys of the application.", no_args_is_help=True, rich_markup_mode=None)


@keys.command("list")
def list_keys(context: typer.Context) -> None:
    """List the keys, without their secrets."""
    options = chosen(context)
    with options.client() as client:
        found = client.keys.list()
        rows = [
            (key.id, key.name, " ".join(key.scopes), key.created_at, key.last_used_at,
             "revoked" if key.revoked_at else key.expires_at)
            for key in found
        ]  # fmt: skip
        options.output.many(
            found, ("id", "name", "scopes", "created", "last used", "ends"), rows, cut=("name", "scopes")
        )


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you recognise it by.")],
    scope: Annotated[
        list[str], typer.Option(metavar="SCOPE", help="What it may do, such as mail.read; may be repeated.")
    ],
    network: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="From where it may be used; may be repeated.")
    ] = None,
) -> None:
    """Create a key and show its secret, this once."""
    options = chosen(context)
    with options.client() as client:
        made = client.keys.create(name, scopes=scope, networks=network or None)
        options.output.one(made, {"id": made.id, "key": made.api_key})


@keys.command()
def revoke(context: typer.Context, key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Revoke a key."""
    options = chosen(context)
    with options.client() as client:
        client.keys.revoke(key_id)
        options.output.receipt(id=key_id)
