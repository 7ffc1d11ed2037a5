"""`python -m services.gateway` serves the REST API."""

from functools import partial

from services.gateway.app import run
from services.gateway.settings import GatewaySettings
from services.kit import process
from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load

if __name__ == "__main__":
    settings = load(GatewaySettings)
    configure_logging(service="gateway", level=settings.log_level)
    process.run(partial(run, settings), hang_seconds=settings.mailroom_hang_seconds)
