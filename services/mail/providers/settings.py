"""What is read from the environment about the providers."""

from services.mail.providers.gmail.settings import GmailSettings


class ProviderSettings(GmailSettings):
    """The settings of all providers."""
