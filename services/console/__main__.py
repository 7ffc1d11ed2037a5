"""`python -m services.console` serves the console."""

from functools import partial

from services.console.app import run
from services.console.settings import ConsoleSettings
from services.kit import process
from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load

if __name__ == "__main__":
    settings = load(ConsoleSettings)
    configure_logging(service="console", level=settings.log_level)
    process.run(partial(run, settings), hang_seconds=settings.mailroom_hang_seconds)
