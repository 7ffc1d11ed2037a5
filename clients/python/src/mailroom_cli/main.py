"""The command and the options of all its commands."""

import re
import sys
from typing import Annotated

import typer

from mailroom_cli.commands import audit, changes, doctor, emails, keys, listen, mailboxes, sign_in, syncs, webhooks
from mailroom_cli.context import Chosen, environment
from mailroom_cli.output import Output
from mailroom_cli.profile import profiles_of_user

# The id of a message is 22 characters of base64url; no option is as long.
_DASHED_ID = re.compile(r"-[\w-]{21}", re.ASCII)

app = typer.Typer(
    name="mailroom",
    help="Read, search and follow the mailboxes that a Mailroom server keeps.",
    no_args_is_help=True,
    # Tracebacks with all local variables would show tokens.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("mailroom-client"))
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The server. Default: MAILROOM_URL, the profile's.")] = None,
    profile: Annotated[str, typer.Option(envvar="MAILROOM_PROFILE", help="Which sign-in to use.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON as the API words it.")] = False,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version)] = False,  # noqa: ARG001
) -> None:
    """Options come before the command; --json may stand anywhere."""
    context.obj = Chosen(profiles_of_user(environment()), profile, url, Output(as_json))


app.command()(sign_in.login)
app.command()(sign_in.logout)
app.command()(sign_in.connect)
app.command()(mailboxes.mailboxes)
app.command()(syncs.sync)
app.command()(emails.search)
app.command()(emails.get)
app.command()(emails.export)
app.command()(changes.changes)
app.command()(audit.audit)
app.command()(listen.listen)
app.command()(doctor.doctor)
app.add_typer(keys.keys, name="keys")
app.add_typer(webhooks.webhooks, name="webhooks")


def main() -> None:
    """Run the command."""
    app(args=arranged(sys.argv[1:]))


def arranged(arguments: list[str]) -> list[str]:
    """Return the arguments with --json in front, as people write it last, and ids that look like options behind."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = arguments[:end]
    options = [argument for argument in given if argument != "--json" and not _DASHED_ID.fullmatch(argument)]
    ids = [argument for argument in given if _DASHED_ID.fullmatch(argument)]
    return ["--json"] * ("--json" in given) + options + ["--"] * bool(ids) + ids + arguments[end:]
