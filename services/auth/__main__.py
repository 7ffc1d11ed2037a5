"""`python -m services.auth` serves; with a command it does that for operators."""

import argparse
import asyncio
import sys
from functools import partial

from services.auth import api_key_command
from services.auth.command_settings import AuthDatabaseSettings, AuthKeySettings
from services.kit.observe.structured_logging import configure_logging
from services.kit.process import run
from services.kit.settings import load


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.auth")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve (without a command, too)")
    commands.add_parser("reencrypt", help="reencrypt all records under the current SECRET_KEY")
    commands.add_parser("rotate-signing-keys", help="make the next key of access tokens")
    api_key_command.add_arguments(commands.add_parser("api-key", help="make or revoke an API key"))
    return parser


if __name__ == "__main__":
    options = _parser().parse_args()
    command = options.command or "serve"
    if command == "api-key":
        # The key alone is on standard output.
        configure_logging(service="auth", level="INFO")
        if not asyncio.run(api_key_command.run(load(AuthDatabaseSettings), options)):
            sys.exit(1)
    elif command == "serve":
        # Here, since the other commands need none of it: its import costs as much again as theirs.
        from services.auth.app import run as serve
        from services.auth.settings import AuthSettings

        settings = load(AuthSettings)
        configure_logging(service="auth", level=settings.log_level)
        run(partial(serve, settings), hang_seconds=settings.mailroom_hang_seconds)
    else:
        from services.auth.key_commands import reencrypt, rotate_signing_keys

        commands = {"reencrypt": reencrypt, "rotate-signing-keys": rotate_signing_keys}
        keys = load(AuthKeySettings)
        configure_logging(service="auth", level="INFO")
        if not asyncio.run(commands[command](keys)):
            sys.exit(1)
