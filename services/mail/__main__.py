"""`python -m services.mail`."""

from services.kit import process
from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load
from services.mail import app
from services.mail.settings import MailSettings

if __name__ == "__main__":
    settings = load(MailSettings)
    configure_logging(service="mail", level=settings.log_level)
    process.run(lambda stop: app.serve(settings, stop), hang_seconds=settings.mailroom_hang_seconds)
