"""`python -m services.auth` serves; `python -m services.auth reseal` seals everything anew under SECRET_KEY."""

import argparse
import asyncio
import sys
from functools import partial

from services.auth.app import reseal
from services.auth.app import run as serve
from services.auth.settings import AuthSettings
from services.kit.logging import configure_logging
from services.kit.process import run
from services.kit.settings import load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m services.auth")
    parser.add_argument("command", nargs="?", choices=["serve", "reseal"], default="serve")
    command = parser.parse_args().command
    settings = load(AuthSettings)
    configure_logging(service="auth", level=settings.log_level)
    if command == "serve":
        run(partial(serve, settings))
    elif not asyncio.run(reseal(settings)):
        sys.exit(1)
