"""`python -m services.sandbox`: serves the sandbox until SIGTERM or Ctrl-C."""

import asyncio
import logging

from services.kit.http.server import serve_http
from services.kit.observe.structured_logging import configure_logging
from services.kit.process import run
from services.kit.settings import load
from services.sandbox.app import open_sandbox
from services.sandbox.settings import Settings


def main() -> None:
    """Load settings, build the application, serve it. Exits with status 2 and one line per wrong variable."""
    settings = load(Settings)
    configure_logging(service="sandbox", level=settings.log_level)

    async def serve(stop: asyncio.Event) -> None:
        async with (
            open_sandbox(settings) as app,
            serve_http(app, host=settings.host, port=settings.port) as port,
        ):
            logging.getLogger("sandbox").info("sandbox listens on port %s as %s", port, settings.issuer)
            await stop.wait()

    run(serve)


if __name__ == "__main__":
    main()
