"""The settings of the providers."""

from services.mail.providers.gmail.settings import GmailPushSettings, GmailSettings


class ProviderSettings(GmailSettings):
    """The settings of all providers."""


class NotificationSettings(GmailPushSettings):
    """The settings of all providers' notifications."""
