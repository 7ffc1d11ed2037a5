"""`python -m services.mail.worker`."""

from services.kit import process
from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load
from services.mail.settings import WorkerSettings
from services.mail.worker import app

if __name__ == "__main__":
    settings = load(WorkerSettings)
    configure_logging(service="mail-worker", level=settings.log_level)
    process.run(lambda stop: app.serve(settings, stop), hang_seconds=settings.mailroom_hang_seconds)
