"""`python -m services.mail.deliverer`."""

from services.kit import process
from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load
from services.mail.deliverer import app
from services.mail.settings import DelivererSettings

if __name__ == "__main__":
    settings = load(DelivererSettings)
    configure_logging(service="mail-deliverer", level=settings.log_level)
    process.run(lambda stop: app.serve(settings, stop), hang_seconds=settings.mailroom_hang_seconds)
