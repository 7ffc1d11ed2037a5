"""`python -m services.auth` serves; with `reencrypt` or `rotate-signing-keys` it runs that command for operators."""

import argparse
import asyncio
import sys
from functools import partial

from services.auth.app import reencrypt, rotate_signing_keys
from services.auth.app import run as serve
from services.auth.settings import AuthKeySettings, AuthSettings
from services.kit.observe.structured_logging import configure_logging
from services.kit.process import run
from services.kit.settings import load

_COMMANDS = {"reencrypt": reencrypt, "rotate-signing-keys": rotate_signing_keys}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m services.auth")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", *_COMMANDS],
        default="serve",
        help="reencrypt: under the current SECRET_KEY; rotate-signing-keys: make the next key of access tokens",
    )
    command = parser.parse_args().command
    if command == "serve":
        settings = load(AuthSettings)
        configure_logging(service="auth", level=settings.log_level)
        run(partial(serve, settings), hang_seconds=settings.mailroom_hang_seconds)
    else:
        keys = load(AuthKeySettings)
        configure_logging(service="auth", level="INFO")
        if not asyncio.run(_COMMANDS[command](keys)):
            sys.exit(1)
